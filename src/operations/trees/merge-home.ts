import { accessSync, constants, existsSync, lstatSync, readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { derivedName } from '../../system/derived-name.js'
import { HeldDirectory, whileHeld } from '../../system/held-directory.js'
import { isDirectory } from '../../system/names.js'
import { effectiveUser } from '../../system/ownership.js'
import { instantOfStamp, lastPrevious, stampOf } from '../set-aside.js'
import { hasList, type ListSummary, readMergeList } from './merge-list.js'

const MARK = '.before-merge-'
/** Name of what stands for a directory beside which nothing can lie. */
const INNER_NAME = 'nexus-backup'
const OTHERS = 0o077

/** A directory that keeps what a merge replaced. */
interface KeptMerge {
  path: string
  /** When the merge began, in milliseconds. */
  instant: number
}

/**
 * Beside which path staged and kept files lie: the directory itself, or a name in it where what is beside it is on another
 * file system or closed to us.
 */
export function homeOf(target: string): string {
  const around = dirname(target)
  const isBeside = target !== '/' && lstatSync(around).dev === lstatSync(target).dev && isWritable(around)
  return isBeside ? target : join(target, INNER_NAME)
}

/** Whether a path may be the home of a directory, now or under another user. */
export function isHomeOf(home: string, target: string): boolean {
  return home === target || home === join(target, INNER_NAME)
}

/** Where a merge keeps what it replaces: not a name that a rollback would take for all that stood there. */
export function keptName(home: string, now: Date): string {
  const last = Math.max(...[lastKept(home)?.instant ?? 0, previousInstant(home)].map(instant => instant + 1))
  const suffix = MARK + stampOf(new Date(Math.max(now.getTime(), last)))
  return join(dirname(home), derivedName(basename(home), { suffix }))
}

/**
 * The merge that a rollback of a directory would undo: the last one, unless the whole directory was replaced since.
 *
 * @param target canonical
 */
export function lastMerge(target: string): (KeptMerge & { home: string }) | null {
  // A database at the path has nothing merged into it.
  if (!isDirectory(target)) return null
  const homes = [...new Set([target, homeOf(target), join(target, INNER_NAME)])]
  const found = homes.flatMap(home => {
    const kept = lastKept(home)
    return kept === undefined ? [] : [{ ...kept, home }]
  })
  const [last] = found.sort((a, b) => b.instant - a.instant)
  return last === undefined || last.instant < previousInstant(target) ? null : last
}

/** What tells of the last merge of a home, if it was stopped and the next one goes on with it; its directory's name. */
export function stoppedMerge(home: string): string | null {
  const kept = lastKept(home)
  if (kept === undefined || kept.instant < previousInstant(home)) return null
  return whileHeld(kept.path, held => readMergeList(held).ended) === 'whole' ? null : basename(kept.path)
}

/** A merge, and those which it went on with: names in one directory, the last one first. */
export function withContinued(path: string): { path: string; summary: ListSummary }[] {
  const found: { path: string; summary: ListSummary }[] = []
  let next: string | null = path
  while (next !== null && isKept(next) && !found.some(one => one.path === next)) {
    const summary: ListSummary = whileHeld(next, held => readMergeList(held))
    found.push({ path: next, summary })
    next = summary.continues === null ? null : join(dirname(path), summary.continues)
  }
  return found
}

/** Whether only this user can have made what a directory says. */
function isKept(path: string): boolean {
  if (!isDirectory(path)) return false
  const held = HeldDirectory.open(path)
  try {
    const { uid, mode } = held.stat()
    return uid === effectiveUser() && (mode & OTHERS) === 0 && hasList(held)
  } finally {
    held.close()
  }
}

function lastKept(home: string): KeptMerge | undefined {
  const directory = dirname(home)
  const names = existsSync(directory) ? readdirSync(directory) : []
  const kept = names.flatMap(name => {
    const from = name.lastIndexOf(MARK)
    if (from < 0) return []
    const stamp = name.slice(from + MARK.length)
    const isOwn = name === derivedName(basename(home), { suffix: MARK + stamp })
    const instant = isOwn ? instantOfStamp(stamp) : Number.NaN
    return Number.isNaN(instant) ? [] : [{ path: join(directory, name), instant }]
  })
  return kept.sort((a, b) => b.instant - a.instant).find(({ path }) => isKept(path))
}

/** When what stood there was last replaced as a whole; 0 when it never was. */
function previousInstant(home: string): number {
  const last = lastPrevious(home)
  return last === undefined ? 0 : instantOfStamp(last.slice(-STAMP_LENGTH))
}

const STAMP_LENGTH = '20251101T000000.000Z'.length

function isWritable(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK | constants.X_OK)
    return true
  } catch {
    return false
  }
}
