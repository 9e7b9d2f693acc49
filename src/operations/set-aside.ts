import { existsSync, readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { derivedName } from '../system/derived-name.js'

const MARK = '.before-restore-'
/** What a database's sidecars, and the list of what stayed behind of a directory, add to the name. */
const BESIDE_BYTES = '-journal'.length
const STAMP = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d\.\d{3}Z)$/

/**
 * Name under which a database is set aside at an instant. Names go up whatever the clock does, so that the last one is
 * what the last restore replaced, and none is used twice.
 */
export function previousName(target: string, now: Date): string {
  return nameAt(target, instantAfterAll([target], now))
}

/** Names for several targets that are set aside together: of one instant, by which they are found again together. */
export function previousNames(targets: readonly string[], now: Date): string[] {
  const instant = instantAfterAll(targets, now)
  return targets.map(target => nameAt(target, instant))
}

/** The names that go with one of them, from a plan that was shown; undefined when that is no such name. */
export function namesLike(targets: readonly string[], previous: string): string[] | undefined {
  const stamp = previous.slice(previous.lastIndexOf(MARK) + MARK.length)
  return STAMP.test(stamp) ? targets.map(target => stampedName(target, stamp)) : undefined
}

/** What the last restore of any of several targets replaced, of those that it did replace. */
export function lastPreviousOf(targets: readonly string[]): { target: string; previous: string }[] {
  const found = targets.flatMap(target => {
    const previous = lastPrevious(target)
    return previous === undefined ? [] : [{ target, previous, instant: instantOf(target, basename(previous)) }]
  })
  const last = Math.max(...found.map(({ instant }) => instant))
  return found.flatMap(({ target, previous, instant }) => (instant === last ? [{ target, previous }] : []))
}

function instantAfterAll(targets: readonly string[], now: Date): Date {
  const after = targets.map(target => {
    const last = lastPrevious(target)
    return last === undefined ? 0 : instantOf(target, basename(last)) + 1
  })
  return new Date(Math.max(now.getTime(), ...after))
}

function nameAt(target: string, instant: Date): string {
  return stampedName(target, stampOf(instant))
}

/** An instant as it stands in a name. */
export function stampOf(instant: Date): string {
  return instant.toISOString().replaceAll('-', '').replaceAll(':', '')
}

/** The instant that a stamp stands for, in milliseconds; NaN for any other text. */
export function instantOfStamp(text: string): number {
  const [, year, month, day, hour, minute, second] = STAMP.exec(text) ?? []
  return second === undefined ? Number.NaN : Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}`)
}

function stampedName(target: string, stamp: string): string {
  return join(dirname(target), derivedName(basename(target), { suffix: MARK + stamp, reserved: BESIDE_BYTES }))
}

/** What the last restore of a database replaced, or undefined when nothing was set aside. */
export function lastPrevious(target: string): string | undefined {
  const directory = dirname(target)
  const names = existsSync(directory) ? readdirSync(directory) : []
  const [last] = names
    .map(name => ({ name, instant: instantOf(target, name) }))
    .filter(({ instant }) => !Number.isNaN(instant))
    .sort((a, b) => b.instant - a.instant)
  return last === undefined ? undefined : join(directory, last.name)
}

/** The instant in the name of something set aside; NaN for any other name. */
function instantOf(target: string, name: string): number {
  const from = name.lastIndexOf(MARK) + MARK.length
  // Earlier releases never cut a name.
  const own = [basename(stampedName(target, name.slice(from))), basename(target) + name.slice(from - MARK.length)]
  return from < MARK.length || !own.includes(name) ? Number.NaN : instantOfStamp(name.slice(from))
}
