import { closeSync, constants, fstatSync, linkSync, lstatSync, openSync, renameSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { errnoOf, NexusError } from '../errors.js'
import { type FileLocks, fileLocks } from './file-locks.js'
import { give, givesFilesAway } from './ownership.js'

/** What the system answers to link(2) on a file system without hard links (FAT, exFAT, CIFS, FUSE), or when all are used up. */
const NO_LINKS: ReadonlySet<string> = new Set(['EPERM', 'ENOSYS', 'EOPNOTSUPP', 'ENOTSUP', 'EMLINK'])
/** What it answers to a lock where it has none. */
const NO_LOCKS: ReadonlySet<string> = new Set(['ENOLCK', 'ENOSYS', 'EOPNOTSUPP', 'ENOTSUP', 'EINVAL'])

/** Held while a name is given without a link. It begins as every unfinished file of a repository does. */
const CLAIM = '.partial-nexus-backup-claim'
const CLAIM_MS = 10_000
const PAUSE_MS = 2
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDWR, O_WRONLY } = constants

/** Whether an error of link(2) says that there are no hard links here. */
export function meansNoLinks(error: unknown): boolean {
  return NO_LINKS.has(errnoOf(error) ?? '')
}

/**
 * Gives a file that is complete and durable its final name, and never takes that name from another file: of several that
 * try at once one succeeds. The draft may keep its own name as well; the caller removes it.
 *
 * @param draft in the same directory as `final`
 * @returns false when the name is taken
 * @throws the system's errors
 */
export function putOnce(draft: string, final: string): boolean {
  try {
    linkSync(draft, final)
    return true
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false
    if (!meansNoLinks(error)) throw error
    return renameOnce(draft, final)
  }
}

/**
 * The same without a hard link. Node has no rename that refuses to replace (renameat2): a lock in the directory keeps
 * others from giving the name between the look and the rename. The kernel drops the lock of a process that dies, and the
 * final name only ever stands for the whole file.
 *
 * @throws NexusError `locked` (`name_claimed`)
 */
export function renameOnce(draft: string, final: string): boolean {
  const claim = join(dirname(final), CLAIM)
  const fd = takeClaim(claim)
  if (fd === null) return renameOverPlaceholder(draft, final)
  try {
    if (lstatSync(final, { throwIfNoEntry: false }) !== undefined) return false
    renameSync(draft, final)
    return true
  } finally {
    // The lock ends after it: a process that waits for it sees that the file has lost its name, and makes a new one.
    thenClose(fd, () => rmSync(claim, { force: true }))
  }
}

/** The locked claim; null where the system or the file system has no locks. */
function takeClaim(path: string): number | null {
  const locks = fileLocks()
  if (locks === null) return null
  const until = Date.now() + CLAIM_MS
  for (;;) {
    const fd = openClaim(path)
    if (fd !== null) {
      const state = lockedState(locks, fd, path)
      if (state === 'held') return fd
      closeSync(fd)
      if (state === 'impossible') return null
    }
    if (Date.now() > until) {
      throw new NexusError('locked', 'name_claimed', `another process holds ${path}`, {
        hint: `see which with: fuser -v ${path}`,
      })
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS)
  }
}

/** Null when it has gone in between, or belongs to another user, who may be about to give it away. */
function openClaim(path: string): number | null {
  const made = unless('EEXIST', () => openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600))
  // One that is there may be anything: nothing is ever written to it, and its owner stays.
  if (made === null)
    return unless('ENOENT', () => unless('EACCES', () => openSync(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK)))
  // Root and the owner of the directory write in turn. A file system without owners refuses.
  if (givesFilesAway()) {
    try {
      unless('EPERM', () => give(made, statSync(dirname(path)), 0o600))
    } catch (error) {
      closeSync(made)
      throw error
    }
  }
  return made
}

function thenClose(fd: number, work: () => void): void {
  try {
    work()
  } finally {
    closeSync(fd)
  }
}

function unless<T>(errno: string, work: () => T): T | null {
  try {
    return work()
  } catch (error) {
    if (errnoOf(error) === errno) return null
    throw error
  }
}

function lockedState(locks: FileLocks, fd: number, path: string): 'held' | 'busy' | 'impossible' {
  try {
    if (!locks.tryLock(fd, { offset: 0, length: 1 }, 'exclusive')) return 'busy'
  } catch (error) {
    if (NO_LOCKS.has(errnoOf(error) ?? '')) return 'impossible'
    throw error
  }
  const [held, named] = [fstatSync(fd, { bigint: true }), lstatSync(path, { bigint: true, throwIfNoEntry: false })]
  return named !== undefined && held.dev === named.dev && held.ino === named.ino ? 'held' : 'busy'
}

/** The last resort, with neither links nor locks: a process killed in between leaves an empty file of that name. */
function renameOverPlaceholder(draft: string, final: string): boolean {
  try {
    closeSync(openSync(final, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600))
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false
    throw error
  }
  try {
    renameSync(draft, final)
    return true
  } catch (error) {
    rmSync(final, { force: true })
    throw error
  }
}
