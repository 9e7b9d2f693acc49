import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, readlinkSync } from 'node:fs'
import { dirname } from 'node:path'
import { errnoOf, reasonOf } from '../../errors.js'
import { fsPath, nameOf, shown } from '../../system/file-names.js'
import { type Found, type FoundStats, foundStats } from './found.js'

/** A file that is open, as it is now: between the walk and this a log may have grown or been rotated. */
export interface OpenFile {
  fd: number
  stats: FoundStats
}

/** Neither a link nor a pipe in a file's place may lead astray or stop us. */
const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/**
 * Opens the file that the walk found. Where another one has its name by now (a rotated log, a file replaced as a whole)
 * the one that was found is looked for beside it; where it is gone, what has its name is what there is to back up.
 *
 * @returns what went wrong, as a sentence
 */
export function openFound(found: Found): OpenFile | string {
  const { location } = found
  const named = tryOpen(location)
  if (typeof named !== 'string' && named.stats.inode === found.inode) return named
  const moved = whereIs(found)
  const followed = moved === null ? null : tryOpen(moved)
  if (followed !== null && typeof followed !== 'string' && followed.stats.inode === found.inode) {
    if (typeof named !== 'string') closeSync(named.fd)
    return followed
  }
  if (followed !== null && typeof followed !== 'string') closeSync(followed.fd)
  return named
}

function tryOpen(location: string): OpenFile | string {
  let fd: number
  try {
    fd = openQuietly(location, FLAGS)
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return `${shown(location)} vanished before it was read`
    if (errno === 'ELOOP' || errno === 'ENXIO') return replaced(location)
    return `${shown(location)} cannot be read and is left out: ${reasonOf(error)}`
  }
  try {
    const stats = fstatSync(fd, { bigint: true })
    if (stats.isFile() && liesAt(fd, location)) return { fd, stats: foundStats(stats) }
  } catch (error) {
    closeSync(fd)
    return `${shown(location)} cannot be read and is left out: ${reasonOf(error)}`
  }
  closeSync(fd)
  return replaced(location)
}

function replaced(location: string): string {
  return `${shown(location)} was replaced by something that is no file and is left out`
}

/** Bytes of a path that a call takes, with the zero at its end (linux/limits.h). */
const PATH_MAX = 4096
/** A descriptor that stands for a directory without opening it (open(2)); Node does not name it. */
const O_PATH = 0o10000000

/**
 * Opens a real path however long it is. Leaves the time of access as it is where the kernel lets us: for the file's owner
 * and root (open(2), O_NOATIME).
 */
export function openQuietly(location: string, flags: number): number {
  return throughShort(location, path => {
    try {
      return openSync(path, flags | constants.O_NOATIME)
    } catch (error) {
      if (errnoOf(error) !== 'EPERM') throw error
      return openSync(path, flags)
    }
  })
}

/** Does something by a path that stands for a real one; where that is too long, through its directories, one by one. */
export function throughShort<T>(location: string, work: (path: string | Buffer) => T): T {
  const path = fsPath(location)
  if (Buffer.byteLength(path) < PATH_MAX) return work(path)
  const names = location.split('/').filter(name => name !== '')
  const last = names.pop() ?? ''
  let fd = openSync('/', O_PATH | constants.O_DIRECTORY)
  try {
    for (const name of names) {
      const inner = openSync(
        fsPath(`/proc/self/fd/${fd}/${name}`),
        O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW,
      )
      closeSync(fd)
      fd = inner
    }
    return work(fsPath(`/proc/self/fd/${fd}/${last}`))
  } finally {
    closeSync(fd)
  }
}

/**
 * Whether an open file really lies where it was looked for. O_NOFOLLOW minds the last name only: a directory on the way
 * that was exchanged for a symbolic link would lead to files which nobody asked for.
 */
export function liesAt(fd: number, location: string): boolean {
  try {
    const real = nameOf(readlinkSync(`/proc/self/fd/${fd}`, { encoding: 'buffer' }))
    return real === location || real === `${location} (deleted)`
  } catch {
    // There is no /proc, or the path is too long, whose directories were opened one by one: no more can be found out.
    return true
  }
}

/** The name that a file was given within its directory since it was found, or null. */
function whereIs({ location, inode }: Found): string | null {
  const directory = dirname(location)
  try {
    const listed = readdirSync(fsPath(directory), { encoding: 'buffer' })
    const names = listed.map(name => `${directory === '/' ? '' : directory}/${nameOf(name)}`)
    return names.find(name => inodeOf(name) === inode) ?? null
  } catch {
    return null
  }
}

function inodeOf(location: string): string | null {
  const stats = lstatSync(fsPath(location), { bigint: true, throwIfNoEntry: false })
  return stats === undefined ? null : `${stats.dev}:${stats.ino}`
}
