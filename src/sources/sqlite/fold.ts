import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import Database from 'better-sqlite3'
import { NexusError } from '../../errors.js'
import { assertOwnSidecars } from '../../system/sidecars.js'
import { diskFull } from './disk-full.js'
import { describeUsers, type FileUser, usersOf } from './users.js'

/** Long enough for a commit to end, too short to keep an operator waiting at 3 a.m. */
const BUSY_TIMEOUT_MS = 3000

/**
 * Makes a database's file complete by itself: an unfinished transaction is rolled back, committed content of the log is
 * moved into the file, and the sidecars are gone. Without this, a database put in its place would be read with the old
 * one's log over it (design section 4). Returns `damaged` when SQLite cannot open it; it is then as it was.
 *
 * @throws NexusError `refused` (`database_in_use`) when somebody has it open, (`sidecar_linked`); `failed` when the disk is
 *   full or refuses
 */
export function foldLog(path: string): 'folded' | 'damaged' {
  assertOwnSidecars(path)
  if (isUnreadable(path)) return 'damaged'
  let database: Database.Database | undefined
  try {
    database = new Database(path, { fileMustExist: true, timeout: BUSY_TIMEOUT_MS })
    database.pragma('locking_mode = EXCLUSIVE')
    database.pragma('synchronous = FULL')
    database.exec('BEGIN EXCLUSIVE')
    database.exec('COMMIT')
    if (database.pragma('journal_mode', { simple: true }) === 'wal') {
      const [result] = database.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[]
      if (result?.busy !== 0) throw inUse(path)
    }
  } catch (error) {
    if (meansDamage(error)) return 'damaged'
    throw explain(path, error)
  } finally {
    database?.close()
  }
  if (!sidecarsEmpty(path)) throw inUse(path)
  return 'folded'
}

/**
 * Asks on a read-only connection, which changes nothing: a writable one that closes takes the log of a database that it
 * could not read away with it (SQLite wal.c, sqlite3WalClose).
 */
function isUnreadable(path: string): boolean {
  let database: Database.Database | undefined
  try {
    database = new Database(path, { fileMustExist: true, readonly: true, timeout: BUSY_TIMEOUT_MS })
    // Reads the header and nothing else: a damaged schema can still be folded.
    database.pragma('schema_version')
    return false
  } catch (error) {
    // Anything else, such as a journal that only a writer may roll back, shows again where it matters.
    return meansDamage(error)
  } finally {
    database?.close()
  }
}

/** An exclusive lock on a database; it may be released more than once. */
export interface Hold {
  release(): void
}

/**
 * Keeps every other process out of a database through another name of its file: the lock is on the file, while SQLite's
 * sidecars go by the name, so whatever it leaves or removes is not beside the live path.
 */
export function holdExclusively(otherName: string): Hold {
  assertOwnSidecars(otherName)
  const database = new Database(otherName, { fileMustExist: true, timeout: BUSY_TIMEOUT_MS })
  try {
    database.pragma('locking_mode = EXCLUSIVE')
    database.exec('BEGIN EXCLUSIVE')
    return { release: () => database.close() }
  } catch (error) {
    database.close()
    throw explain(otherName, error)
  }
}

/** As `holdExclusively`; null for what SQLite cannot open, into which nobody can write. */
export function holdUnlessDamaged(otherName: string): Hold | null {
  assertOwnSidecars(otherName)
  return isUnreadable(otherName) ? null : holdExclusively(otherName)
}

/** True when neither log nor journal beside the database holds anything. */
export function sidecarsEmpty(path: string): boolean {
  return (statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) === 0 && isOverwritten(`${path}-journal`)
}

/** A journal that begins with a zero is done with: `journal_mode=PERSIST` keeps it so (SQLite pager.c, zeroJournalHdr). */
function isOverwritten(journal: string): boolean {
  if ((statSync(journal, { throwIfNoEntry: false })?.size ?? 0) === 0) return true
  const fd = openSync(journal, 'r')
  try {
    const first = Buffer.alloc(1)
    return readSync(fd, first, 0, 1, 0) === 0 || first[0] === 0
  } finally {
    closeSync(fd)
  }
}

/**
 * Refuses when a process has the database open.
 *
 * @throws NexusError `refused` (`database_in_use`) naming it
 */
export function assertUnused(path: string, warn: (message: string) => void): void {
  const { processes, incomplete } = usersOf(path)
  if (processes.length > 0) throw inUse(path, processes)
  if (incomplete) warn(`other users' processes could not be looked at: make sure none of them uses ${path}`)
}

function sqliteCode(error: unknown): string {
  return String((error as { code?: unknown }).code)
}

function meansDamage(error: unknown): boolean {
  const code = sqliteCode(error)
  return code === 'SQLITE_NOTADB' || code.startsWith('SQLITE_CORRUPT')
}

/** SQLite's own words for a disk that is full or refuses say neither which nor what to do. */
function explain(path: string, error: unknown): unknown {
  const code = sqliteCode(error)
  if (code.startsWith('SQLITE_BUSY')) return inUse(path)
  if (code === 'SQLITE_FULL') {
    return diskFull(dirname(path), 'the database there must be completed from its own log first', error)
  }
  if (!code.startsWith('SQLITE_')) return error
  return new NexusError('failed', 'target_unusable', `${path} could not be locked and completed: ${String(error)}`, {
    hint: 'nothing was replaced; its directory and its -wal and -journal must be writable for whoever runs this',
    cause: error,
  })
}

/** The error that names who uses a database. */
export function inUse(path: string, known?: FileUser[]): NexusError {
  const names = describeUsers(known ?? usersOf(path).processes)
  const who = names === '' ? 'another process, which could not be seen' : names
  return new NexusError('refused', 'database_in_use', `${path} is in use by ${who}`, {
    hint: 'stop that program first, or name its systemd unit as service: in the configuration and it is done for you',
  })
}
