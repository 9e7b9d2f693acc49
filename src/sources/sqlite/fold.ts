import { statSync } from 'node:fs'
import Database from 'better-sqlite3'
import { NexusError } from '../../errors.js'
import { type FileUser, usersOf } from './users.js'

/** Long enough for a commit to end, too short to keep an operator waiting at 3 a.m. */
const BUSY_TIMEOUT_MS = 3000

/**
 * Makes a database's file complete by itself: an unfinished transaction is rolled back, committed content of the log is
 * moved into the file, and the sidecars are gone. Without this, a database put in its place would be read with the old
 * one's log over it (design section 4). Returns `damaged` when SQLite cannot open it.
 *
 * @throws NexusError `refused` (`database_in_use`) when somebody has it open
 */
export function foldLog(path: string): 'folded' | 'damaged' {
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
    const code = String((error as { code?: unknown }).code)
    if (code === 'SQLITE_NOTADB' || code.startsWith('SQLITE_CORRUPT')) return 'damaged'
    if (code.startsWith('SQLITE_BUSY')) throw inUse(path)
    throw error
  } finally {
    database?.close()
  }
  if (!sidecarsEmpty(path)) throw inUse(path)
  return 'folded'
}

/**
 * Keeps every other process out of a database through another name of its file: the lock is on the file, while SQLite's
 * sidecars go by the name, so whatever it leaves or removes is not beside the live path.
 */
export function holdExclusively(otherName: string): { release(): void } {
  const database = new Database(otherName, { fileMustExist: true, timeout: BUSY_TIMEOUT_MS })
  try {
    database.pragma('locking_mode = EXCLUSIVE')
    database.exec('BEGIN EXCLUSIVE')
    return { release: () => database.close() }
  } catch (error) {
    database.close()
    if (String((error as { code?: unknown }).code).startsWith('SQLITE_BUSY')) throw inUse(otherName)
    throw error
  }
}

/** True when neither log nor journal beside the database holds anything. */
export function sidecarsEmpty(path: string): boolean {
  return [`${path}-wal`, `${path}-journal`].every(name => (statSync(name, { throwIfNoEntry: false })?.size ?? 0) === 0)
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

function inUse(path: string, known?: FileUser[]): NexusError {
  const users = known ?? usersOf(path).processes
  const names = users.map(({ command, pid, user }) => `${command} (pid ${pid}, user ${user})`).join(', ')
  const who = names === '' ? 'another process, which could not be seen' : names
  return new NexusError('refused', 'database_in_use', `${path} is in use by ${who}`, {
    hint: 'stop that program first, or name its systemd unit as service: in the configuration and it is done for you',
  })
}
