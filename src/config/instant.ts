import { type Micros, microsOf, millisecondsOf } from '../model/micros.js'

/** Why a written time is not one instant. */
export type InstantProblem = 'not-a-time' | 'twice' | 'never'

/**
 * What a written time names: its first and its last microsecond. Programs cut times to seconds or milliseconds, so one
 * without a fraction means the whole second and one with three digits the whole millisecond. Any other number of digits
 * is exact: PostgreSQL leaves out the zeros at the end.
 */
export interface WrittenTime {
  first: Micros
  last: Micros
}

interface LocalTime {
  year: number
  month: number
  day: number
  hour: number
  minute: number
  second: number
}

const pattern =
  /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d+))?)?)?\s*(Z|[+-]\d{2}(?::?\d{2})?|[A-Z]{2,5}(?:[+-]\d{1,2}(?::\d{2}){0,2})?)?$/i

/** Reads an ISO 8601 date or time, as `parseTime` does: the millisecond that it begins in. */
export function parseInstant(text: string, zone: string): Date | InstantProblem {
  const time = parseTime(text, zone)
  return typeof time === 'string' ? time : new Date(millisecondsOf(time.first))
}

/**
 * Reads an ISO 8601 date or time, and every form in which this program and PostgreSQL print one. Without an offset it is a
 * wall-clock time in the zone; a date alone is its first second. A wall-clock time that the zone skips (`never`) or passes
 * twice (`twice`) is not guessed at.
 */
export function parseTime(text: string, zone: string): WrittenTime | InstantProblem {
  const match = pattern.exec(text.trim())
  if (match === null) return 'not-a-time'
  const asUtc = utcOf(localTime(match))
  if (asUtc === undefined) return 'not-a-time'
  const suffix = match[8]
  if (suffix !== undefined && match[4] === undefined) return 'not-a-time'
  const second = suffix === undefined ? wallClock(asUtc, zone, match[4] !== undefined) : withSuffix(asUtc, suffix, zone)
  return typeof second === 'string' ? second : withFraction(second, match[7])
}

/** @param second milliseconds since 1970 UTC at which the second begins */
function withFraction(second: number, digits: string | undefined): WrittenTime {
  const first = microsOf(second) + BigInt((digits ?? '').slice(0, 6).padEnd(6, '0'))
  if (digits === undefined) return { first, last: first + 999_999n }
  return { first, last: digits.length === 3 ? first + 999n : first }
}

function wallClock(asUtc: number, zone: string, hasTime: boolean): number | InstantProblem {
  const [first, second] = inZone(asUtc, zone)
  // A day whose midnight is skipped begins later; it is still a day.
  if (first === undefined) return hasTime ? 'never' : firstAfterGap(asUtc, zone)
  return second !== undefined && hasTime ? 'twice' : first
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
  return { year: number(1), month: number(2), day: number(3), hour: number(4), minute: number(5), second: number(6) }
}

function utcOf(local: LocalTime): number | undefined {
  const { year, month, day, hour, minute, second } = local
  if (year < 1970 || hour > 23 || minute > 59 || second > 59) return undefined
  const time = Date.UTC(year, month - 1, day, hour, minute, second)
  const back = new Date(time)
  return back.getUTCMonth() === month - 1 && back.getUTCDate() === day ? time : undefined
}

/** An offset, or a zone's name as `zoneName` gives it and humans are shown it. */
function withSuffix(asUtc: number, suffix: string, zone: string): number | InstantProblem {
  const text = suffix.toUpperCase()
  if (text === 'Z' || text === 'UTC' || text === 'GMT') return asUtc
  // PostgreSQL writes whole hours without minutes: 2025-11-03 02:59:00+00.
  const [, sign, hours = '0', minutes = '0', seconds = '0'] =
    /^(?:UTC|GMT)?([+-])(\d{1,2}):?(\d{2})?(?::(\d{2}))?$/.exec(text) ?? []
  if (sign === undefined) {
    const named = inZone(asUtc, zone).filter(instant => zoneName(instant, zone).toUpperCase() === text)
    return named.length === 1 && named[0] !== undefined ? named[0] : 'not-a-time'
  }
  if (Number(hours) > 18 || Number(minutes) > 59 || Number(seconds) > 59) return 'not-a-time'
  const distance = ((Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1000
  return sign === '-' ? asUtc + distance : asUtc - distance
}

/** What the zone is called at an instant: `CET`, `GMT+9`. */
export function zoneName(instant: number, zone: string): string {
  const format = new Intl.DateTimeFormat('en-GB', { timeZone: zone, timeZoneName: 'short' })
  return format.formatToParts(instant).find(({ type }) => type === 'timeZoneName')?.value ?? ''
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
