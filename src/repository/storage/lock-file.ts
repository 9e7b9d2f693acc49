import { closeSync, constants, fstatSync, lstatSync, openSync } from 'node:fs'
import { errnoOf, messageOf, NexusError } from '../../errors.js'
import { type FileLocks, fileLocks } from '../../system/file-locks.js'
import { symlinkFault } from './faults.js'
import type { LockMode } from './locks.js'

/** An open lock file. */
export interface LockFile {
  /** True when the lock is now held. */
  tryTake(mode: LockMode): boolean
  close(): void
}

/**
 * The bytes that SQLite locks (os.h, PENDING_BYTE): earlier versions of this program locked with SQLite, and versions
 * exclude each other. A shared lock covers the bytes from SHARED_FIRST on, an exclusive one all of them.
 */
const RANGES = {
  exclusive: { offset: 0x40000000, length: 512 },
  shared: { offset: 0x40000002, length: 510 },
} as const

/**
 * Opens a lock file. The lock belongs to the open file: the kernel drops it when this process ends, and nothing that is
 * opened and closed elsewhere in the process does.
 * @throws NexusError `damage` (`lock_file_damaged`), `failed` (`lock_unusable`)
 */
export async function openLockFile(path: string, shown: string): Promise<LockFile> {
  // A journal beside the empty lock file is none of ours, and SQLite would act upon it.
  for (const suffix of ['-journal', '-wal', '-shm']) {
    if (lstatSync(path + suffix, { throwIfNoEntry: false })) {
      throw new NexusError('damage', 'lock_file_damaged', `${shown}${suffix} does not belong there`, {
        hint: `when no nexus-backup runs, move it out of the repository: mv ${shown}${suffix} /tmp`,
      })
    }
  }
  const locks = fileLocks()
  return locks === null ? openWithSqlite(path, shown) : openWith(locks, path, shown)
}

function openWith(locks: FileLocks, path: string, shown: string): LockFile {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (cause) {
    throw errnoOf(cause) === 'ELOOP' ? symlinkFault(shown) : unusable(shown, cause)
  }
  return {
    tryTake(mode) {
      try {
        if (!locks.tryLock(fd, RANGES[mode], mode)) return false
      } catch (cause) {
        throw unusable(shown, cause)
      }
      if (!isStillAt(fd, path)) throw unusable(shown, new Error('it was replaced while it was taken'))
      return true
    },
    close: () => closeSync(fd),
  }
}

/** A lock on a file that was removed meanwhile excludes nobody who comes later. */
function isStillAt(fd: number, path: string): boolean {
  const [held, named] = [fstatSync(fd, { bigint: true }), lstatSync(path, { bigint: true, throwIfNoEntry: false })]
  return named !== undefined && held.dev === named.dev && held.ino === named.ino
}

/**
 * Where the system's own call is out of reach, SQLite takes the lock: a POSIX one, which ends when anything else in this
 * process closes the file. better-sqlite3 takes 18 ms to load.
 */
async function openWithSqlite(path: string, shown: string): Promise<LockFile> {
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
  return new NexusError('failed', 'lock_unusable', `the lock ${shown} cannot be used: ${messageOf(cause)}`, {
    cause,
    hint: 'the file must be writable for us, and the file system must support locks (NFS needs its lock service)',
  })
}
