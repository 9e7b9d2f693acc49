import { endOfDay, type InstantProblem, parseTime, type WrittenTime } from '../config/instant.js'
import { NexusError } from '../errors.js'
import { millisecondsOf } from '../model/micros.js'

const why: Readonly<Record<InstantProblem, string>> = {
  'not-a-time': 'is not a time',
  twice: 'comes twice in the configured timezone, where clocks were set back',
  never: 'does not exist in the configured timezone, where clocks were set forward',
}

/** The time that an option's value names. Throws `usage` when it is not exactly one. */
export function timeOf(option: string, text: string, zone: string): WrittenTime {
  const time = parseTime(text, zone)
  if (typeof time !== 'string') return time
  throw new NexusError('usage', 'invalid_time', `--${option}: '${text}' ${why[time]}`, {
    hint: `write one with its zone, such as 2025-11-03T02:59:00Z or 2025-11-03T11:59:00+09:00`,
  })
}

/** `--keep-until`: an ISO instant, `forever`, or null. A date alone includes its whole day in the zone. */
export function keepUntilOf(text: string | undefined, zone: string): string | null {
  if (text === undefined) return null
  if (text === 'forever') return text
  const until = endOfDay(text, zone) ?? new Date(millisecondsOf(timeOf('keep-until', text, zone).first))
  return until.toISOString()
}
