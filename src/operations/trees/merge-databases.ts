import { closeSync, constants, fstatSync, lstatSync, openSync, renameSync, type Stats, utimesSync } from 'node:fs'
import { messageOf, NexusError } from '../../errors.js'
import { foldLog, inUse } from '../../sources/sqlite/fold.js'
import { hasMagic } from '../../sources/sqlite/header.js'
import { writeFully } from '../../sources/sqlite/rollback-journal.js'
import { dropEmptySidecars, replaceUnderLock } from '../../sources/sqlite/swap.js'
import { usersOf } from '../../sources/sqlite/users.js'
import { fileLocks } from '../../system/file-locks.js'
import { fsPath, hasRawBytes } from '../../system/file-names.js'
import { exchanged, type HeldDirectory, sameFile } from '../../system/held-directory.js'
import { byShortPath } from '../../system/long-paths.js'
import { SIDECAR_SUFFIXES } from '../../system/sidecars.js'
import { fsTime } from '../../system/times.js'
import type { ReplacedFiles } from './replaced-files.js'

/** Somebody may open the database between folding and locking it; more often than this is no accident. */
const ATTEMPTS = 5
/** All bytes that SQLite locks in a database file (os.h, PENDING_BYTE). */
const LOCKED_BYTES = { offset: 0x40000000, length: 512 }

/** Names one by one, but a file together with what SQLite keeps beside it: the one is of no use without the others. */
export function* withLogs(names: ReadonlySet<string>): Generator<string[], void, void> {
  for (const name of names) {
    const base = databaseOf(name)
    if (base !== undefined && names.has(base)) continue
    yield [name, ...SIDECAR_SUFFIXES.map(suffix => name + suffix).filter(log => names.has(log))]
  }
}

/** The name of the database beside which SQLite keeps a file of this name; undefined for a name that it does not give. */
export function databaseOf(name: string): string | undefined {
  const suffix = SIDECAR_SUFFIXES.find(one => name.endsWith(one) && name.length > one.length)
  return suffix === undefined ? undefined : name.slice(0, -suffix.length)
}

/** Whether a regular file begins as a database does. One that we cannot read may be one as well. */
export function mayBeDatabase(path: string): boolean {
  return byShortPath(path, at => {
    if (lstatSync(at, { throwIfNoEntry: false })?.isFile() !== true) return false
    let fd: number | undefined
    try {
      fd = openSync(at, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
      return hasMagic(fd)
    } catch {
      return true
    } finally {
      if (fd !== undefined) closeSync(fd)
    }
  })
}

/**
 * Completes a staged database from the logs that are staged beside it, so that it takes its place in one step: no kill then
 * leaves it beside another one's log, or without its own. One that SQLite cannot open stays as it is, with its logs.
 *
 * @returns whether the logs are gone; the database has the time of the last one then
 */
export function completeStaged(staged: HeldDirectory, [name = '', ...logs]: readonly string[]): boolean {
  const path = staged.at(name)
  if (logs.length === 0 || hasRawBytes(name) || !mayBeDatabase(path)) return false
  const { atimeMs, mtimeMs } = lstatSync(path)
  // What stood in a log of some content was written when that was.
  const written = logs.flatMap(log => {
    const found = lstatSync(staged.at(log))
    return found.size > 0 && !log.endsWith('-shm') ? [found.mtimeMs] : []
  })
  if (foldLog(path) === 'damaged' || !dropEmptySidecars(path)) return false
  utimesSync(path, fsTime(atimeMs / 1000), fsTime(Math.max(mtimeMs, ...written) / 1000))
  return true
}

/** A database that is there, and the file that is to take its place. */
export interface DatabasePlace {
  /** A regular file in the same file system. */
  ready: string
  target: HeldDirectory
  name: string
  entry: string
  /** Whether `ready` is of no use when nothing comes of it. */
  disposable: boolean
}

/**
 * Puts a file in the place of a database that is there, in one step and under its lock; what is replaced is complete by
 * itself and kept. Before and after the rename it is seen that no process has it open, which would go on with the log.
 *
 * @param unseen is told of a database that a process may use which we may not look at
 * @returns false when SQLite cannot open what is there, which is as it was then
 * @throws NexusError `refused` (`database_in_use`, `sidecar_linked`); everything is as it was
 */
export async function replaceDatabase(
  { ready, target, name, entry, disposable }: DatabasePlace,
  kept: ReplacedFiles,
  unseen: (path: string) => void,
): Promise<boolean> {
  const path = target.at(name)
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    if (assertNobodyUses(path) === 'unseen') unseen(`${target.path}/${name}`)
    if (foldLog(path) === 'damaged') return false
    const isNew = kept.keep(path, entry)
    try {
      const isLinked = sameFile(kept.look(entry), look(path))
      const isDone = isLinked
        ? await replaceUnderLock({ target: path, staged: ready, previous: kept.at(entry), disposable })
        : replaceCopied(ready, target, name)
      if (isDone) return true
    } catch (error) {
      if (isNew) kept.drop(entry)
      throw error
    }
    if (isNew) kept.drop(entry)
  }
  throw inUse(path)
}

/**
 * The same where what is replaced is kept as a copy: the lock is on the open file. A process that opened it meanwhile gets
 * an error, for nothing has its name any more.
 *
 * @returns false when somebody wrote to it
 */
function replaceCopied(ready: string, target: HeldDirectory, name: string): boolean {
  const path = target.at(name)
  const fd = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    if (!sameFile(fstatSync(fd), look(path))) throw exchanged(path)
    if (fileLocks()?.tryLock(fd, LOCKED_BYTES, 'exclusive') === false) throw inUse(path)
    assertNobodyUses(path)
    if (!dropEmptySidecars(path)) return false
    renameSync(ready, path)
    writeFully(fd, Buffer.alloc(100, 0xff), 0)
    return true
  } finally {
    closeSync(fd)
  }
}

/** @returns `unseen` where not every process could be looked at. @throws NexusError `refused` (`database_in_use`) */
export function assertNobodyUses(path: string): 'unused' | 'unseen' {
  const { processes, incomplete } = usersOf(path)
  if (processes.length > 0) throw inUse(path, processes)
  return incomplete ? 'unseen' : 'unused'
}

/** What keeps one database from being replaced, and no other entry: the end of a sentence; null for any other error. */
export function ofOneDatabase(error: unknown, target: HeldDirectory): string | null {
  const codes = ['database_in_use', 'sidecar_linked', 'target_unusable', 'directory_exchanged']
  if (!(error instanceof NexusError) || !codes.includes(error.code)) return null
  target.nameIn(error)
  return messageOf(error)
}

function look(path: string): Stats | undefined {
  return lstatSync(fsPath(path), { throwIfNoEntry: false })
}
