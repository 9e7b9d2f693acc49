import { existsSync, readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

const MARK = '.before-restore-'
const STAMP = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d\.\d{3}Z)$/

/**
 * Name under which a database is set aside at an instant. Names go up whatever the clock does, so that the last one is
 * what the last restore replaced, and none is used twice.
 */
export function previousName(target: string, now: Date): string {
  const last = lastPrevious(target)
  const after = last === undefined ? 0 : instantOf(target, basename(last)) + 1
  const instant = new Date(Math.max(now.getTime(), after))
  return `${target}${MARK}${instant.toISOString().replaceAll('-', '').replaceAll(':', '')}`
}

/** What the last restore of a database replaced, or undefined when nothing was set aside. */
export function lastPrevious(target: string): string | undefined {
  const directory = dirname(target)
  const names = existsSync(directory) ? readdirSync(directory) : []
  const last = names
    .filter(name => !Number.isNaN(instantOf(target, name)))
    .sort()
    .at(-1)
  return last === undefined ? undefined : join(directory, last)
}

/** The instant in the name of something set aside; NaN for any other name. */
function instantOf(target: string, name: string): number {
  const prefix = basename(target) + MARK
  const stamp = name.startsWith(prefix) ? STAMP.exec(name.slice(prefix.length)) : null
  if (stamp === null) return Number.NaN
  const [, year, month, day, hour, minute, second] = stamp
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}`)
}
