import { lstatSync } from 'node:fs'
import { NexusError } from '../../errors.js'
import type { LockMode } from './locks.js'

/** An open lock file. Only SQLite ever opens it: any other close() in this process would drop its locks
 * (POSIX, anchors/sqlite.md 2 rule 6). */
export interface LockFile {
  /** True when the lock is now held. */
  tryTake(mode: LockMode): boolean
  close(): void
}

/** better-sqlite3 takes 18 ms to load: only who locks pays. */
export async function openLockFile(path: string, shown: string): Promise<LockFile> {
  // A journal beside the empty lock file is none of ours, and SQLite would act upon it.
  for (const suffix of ['-journal', '-wal', '-shm']) {
    if (lstatSync(path + suffix, { throwIfNoEntry: false })) {
      throw new NexusError('damage', 'lock_file_damaged', `${shown}${suffix} does not belong there`, {
        hint: `when no nexus-backup runs, remove it: rm ${shown}${suffix}`,
      })
    }
  }
  const { default: Database } = await import('better-sqlite3')
  let database: import('better-sqlite3').Database
  try {
    database = new Database(path, { fileMustExist: true, timeout: 0 })
  } catch (cause) {
    throw unusable(shown, cause)
  }
  return {
    tryTake(mode) {
      try {
        // BEGIN EXCLUSIVE on an empty database opens a journal (SQLite btree.c newDatabase): on disk it would stay
        // after a SIGKILL and could not be made on a full disk, which prune must be able to empty.
        database.exec('PRAGMA journal_mode = MEMORY')
        // A deferred transaction holds nothing until it reads.
        database.exec(mode === 'exclusive' ? 'BEGIN EXCLUSIVE' : 'BEGIN; SELECT count(*) FROM sqlite_schema')
        return true
      } catch (cause) {
        if (database.inTransaction) database.exec('ROLLBACK')
        if (isBusy(cause)) return false
        throw unusable(shown, cause)
      }
    },
    close: () => database.close(),
  }
}

function isBusy(error: unknown): boolean {
  const code = error instanceof Error ? (error as { code?: unknown }).code : undefined
  return typeof code === 'string' && code.startsWith('SQLITE_BUSY')
}

function unusable(shown: string, cause: unknown): NexusError {
  const why = cause instanceof Error ? cause.message : String(cause)
  return new NexusError('failed', 'lock_unusable', `the lock ${shown} cannot be used: ${why}`, {
    cause,
    hint: 'the file must be writable for us, and the file system must support locks (NFS needs its lock service)',
  })
}
