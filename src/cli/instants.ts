import { endOfDay, type InstantProblem, parseInstant } from '../config/instant.js'
import { NexusError } from '../errors.js'

const why: Readonly<Record<InstantProblem, string>> = {
  'not-a-time': 'is not a time',
  twice: 'comes twice in the configured timezone, where clocks were set back',
  never: 'does not exist in the configured timezone, where clocks were set forward',
}

/** The instant that an option's value names. Throws `usage` when it is not exactly one. */
export function instantOf(option: string, text: string, zone: string): Date {
  const instant = parseInstant(text, zone)
  if (instant instanceof Date) return instant
  throw new NexusError('usage', 'invalid_time', `--${option}: '${text}' ${why[instant]}`, {
    hint: `write one with its zone, such as 2025-11-03T02:59:00Z or 2025-11-03T11:59:00+09:00`,
  })
}

/** `--keep-until`: an ISO instant, `forever`, or null. A date alone includes its whole day in the zone. */
export function keepUntilOf(text: string | undefined, zone: string): string | null {
  if (text === undefined) return null
  if (text === 'forever') return text
  return (endOfDay(text, zone) ?? instantOf('keep-until', text, zone)).toISOString()
}
