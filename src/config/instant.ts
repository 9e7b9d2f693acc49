/** Why a written time is not one instant. */
export type InstantProblem = 'not-a-time' | 'twice' | 'never'

interface LocalTime {
  year: number
  month: number
  day: number
  hour: number
  minute: number
  second: number
  millisecond: number
}

const pattern =
  /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,3})\d*)?)?)?\s*(Z|[+-]\d{2}(?::?\d{2})?)?$/i

/**
 * Reads an ISO 8601 date or time. Without an offset it is a wall-clock time in the zone; a date alone is its first
 * instant. A wall-clock time that the zone skips (`never`) or passes twice (`twice`) is not guessed at.
 */
export function parseInstant(text: string, zone: string): Date | InstantProblem {
  const match = pattern.exec(text.trim())
  if (match === null) return 'not-a-time'
  const local = localTime(match)
  const asUtc = utcOf(local)
  if (asUtc === undefined) return 'not-a-time'
  const offset = match[8]
  if (offset !== undefined && match[4] === undefined) return 'not-a-time'
  if (offset !== undefined) return withOffset(asUtc, offset)
  const candidates = inZone(asUtc, zone)
  const [first, second] = candidates
  // A day whose midnight is skipped begins later; it is still a day.
  if (first === undefined && match[4] === undefined) return new Date(firstAfterGap(asUtc, zone))
  if (first === undefined) return 'never'
  if (second !== undefined && match[4] !== undefined) return 'twice'
  return new Date(first)
}

/** The last millisecond of the day that a date alone names, in the zone; undefined when it is not a date alone. */
export function endOfDay(text: string, zone: string): Date | undefined {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(text.trim())) return undefined
  const start = Date.parse(`${text.trim()}T00:00:00Z`)
  if (Number.isNaN(start) || parseInstant(text, zone) === 'not-a-time') return undefined
  const next = new Date(start + 86_400_000).toISOString().slice(0, 10)
  const instant = parseInstant(next, zone)
  return instant instanceof Date ? new Date(instant.getTime() - 1) : undefined
}

function localTime(match: RegExpExecArray): LocalTime {
  const number = (at: number) => Number(match[at] ?? 0)
  return {
    year: number(1),
    month: number(2),
    day: number(3),
    hour: number(4),
    minute: number(5),
    second: number(6),
    millisecond: Number((match[7] ?? '0').padEnd(3, '0')),
  }
}

function utcOf(local: LocalTime): number | undefined {
  const { year, month, day, hour, minute, second, millisecond } = local
  if (year < 1970 || hour > 23 || minute > 59 || second > 59) return undefined
  const time = Date.UTC(year, month - 1, day, hour, minute, second, millisecond)
  const back = new Date(time)
  return back.getUTCMonth() === month - 1 && back.getUTCDate() === day ? time : undefined
}

function withOffset(asUtc: number, offset: string): Date | InstantProblem {
  if (offset.toUpperCase() === 'Z') return new Date(asUtc)
  const hours = Number(offset.slice(1, 3))
  // PostgreSQL writes whole hours without minutes: 2025-11-03 02:59:00+00.
  const minutes = offset.length > 3 ? Number(offset.slice(-2)) : 0
  if (hours > 18 || minutes > 59) return 'not-a-time'
  const distance = (hours * 60 + minutes) * 60_000
  return new Date(offset.startsWith('-') ? asUtc + distance : asUtc - distance)
}

/** Every instant whose wall clock in the zone shows this time, earliest first: none, one or two. */
function inZone(asUtc: number, zone: string): number[] {
  const day = 86_400_000
  const offsets = new Set([zoneOffset(asUtc - day, zone), zoneOffset(asUtc, zone), zoneOffset(asUtc + day, zone)])
  return [...offsets]
    .map(offset => asUtc - offset)
    .filter(instant => instant + zoneOffset(instant, zone) === asUtc)
    .sort((a, b) => a - b)
}

function firstAfterGap(asUtc: number, zone: string): number {
  return asUtc - zoneOffset(asUtc - 86_400_000, zone)
}

/** Milliseconds that the zone's wall clock is ahead of UTC at an instant. */
function zoneOffset(instant: number, zone: string): number {
  const parts = new Intl.DateTimeFormat('en-US-u-ca-gregory-nu-latn', {
    timeZone: zone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  }).formatToParts(instant)
  const get = (type: string) => Number(parts.find(part => part.type === type)?.value ?? 0)
  const shown = Date.UTC(get('year'), get('month') - 1, get('day'), get('hour'), get('minute'), get('second'))
  return shown - Math.floor(instant / 1000) * 1000
}
