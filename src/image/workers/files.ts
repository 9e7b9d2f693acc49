import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fsyncSync,
  ftruncateSync,
  futimesSync,
  openSync,
  unlinkSync,
} from 'node:fs'
import { isOfOneFile, reasonOf } from '../../errors.js'
import { writeAttributes } from '../../system/attributes.js'
import { shown } from '../../system/file-names.js'
import { byShortPath } from '../../system/long-paths.js'
import { fsTime } from '../../system/times.js'
import type { Attributes, CreateTask, Done, SettleTask } from './tasks.js'

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/** Makes files; an existing one, a link too, is a problem of that file. */
export function createFiles({ files }: CreateTask): Done {
  const problems: Done['problems'] = []
  for (const [at, { path, size }] of files.entries()) {
    try {
      using(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, fd => {
        if (size > 0) enlarge(fd, path, size)
      })
    } catch (error) {
      if (!isOfOneFile(error)) throw named(path, error)
      problems.push({ at, message: reasonOf(error) })
    }
  }
  return { problems }
}

/** None stays that is not as long as it must be. */
function enlarge(fd: number, path: string, size: number): void {
  try {
    ftruncateSync(fd, size)
  } catch (error) {
    byShortPath(path, unlinkSync)
    throw error
  }
}

/** Gives files and directories their attributes and makes them durable, as each item says. */
export function settle({ items }: SettleTask): Done {
  const problems: Done['problems'] = []
  for (const [at, { path, directory, attributes, sync }] of items.entries()) {
    try {
      using(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | (directory ? O_DIRECTORY : 0), fd => {
        const lost = attributes === null ? [] : give(fd, attributes)
        problems.push(...lost.map(message => ({ at, message })))
        if (sync) fsyncSync(fd)
      })
    } catch (error) {
      throw named(path, error)
    }
  }
  return { problems }
}

/** What a file system or a user without the right to it does not take is told, and all the rest is given. */
function give(fd: number, { mode, owner, mtime, extended }: Attributes): string[] {
  const lost: string[] = []
  const attempt = (what: string, work: () => void) => {
    try {
      work()
    } catch (error) {
      if (!isOfOneFile(error)) throw error
      lost.push(`its ${what} cannot be set: ${reasonOf(error)}`)
    }
  }
  // The owner first: a change of it takes set-user-id and capabilities away. The mode after the ACL, which has it too.
  if (owner !== null) attempt(`owner ${owner.uid}:${owner.gid}`, () => fchownSync(fd, owner.uid, owner.gid))
  lost.push(...writeAttributes(fd, extended))
  attempt(`mode ${mode.toString(8).padStart(4, '0')}`, () => fchmodSync(fd, mode))
  const time = fsTime(mtime)
  attempt('time', () => futimesSync(fd, time, time))
  return lost
}

function using(path: string, flags: number, work: (fd: number) => void): void {
  const fd = byShortPath(path, at => openSync(at, flags, 0o600))
  try {
    work(fd)
  } finally {
    closeSync(fd)
  }
}

function named(path: string, error: unknown): unknown {
  if (error instanceof Error) error.message = `${shown(path)}: ${error.message}`
  return error
}
