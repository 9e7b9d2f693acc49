import { accessSync, constants, copyFileSync, rmSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { errnoOf, NexusError } from '../../errors.js'
import { foldLog } from './fold.js'
import type { OpenedDatabase } from './preflight.js'
import { stageCopy } from './staged-copy.js'

/** Files that were changed so lately may be changed again without another time, by a writer through another mount. */
const SETTLED_MS = 2000

/** Whether the file system of a directory is mounted read-only, for everybody. */
export function isOnReadOnlyMedia(path: string): boolean {
  try {
    accessSync(dirname(path), constants.W_OK)
    return false
  } catch (error) {
    return errnoOf(error) === 'EROFS'
  }
}

/**
 * SQLite cannot open a database in WAL mode where it can make no files beside it, unless it is told that nothing changes
 * there, which the bundled library has no way to be told. There the database is copied, with its log if it has one, and
 * the log is moved into the copy. Returns the path of the copy, or null when `error` was about something else.
 *
 * @throws NexusError `failed` (`source_moved`) when somebody writes to it through another mount
 */
export async function copyFromReadOnlyMedia(
  error: unknown,
  opened: OpenedDatabase,
  { staging, signal }: { staging: string; signal: AbortSignal },
): Promise<string | null> {
  const isShut = error instanceof NexusError && error.code === 'source_unreadable'
  if (!isShut || !opened.header.wal || !isOnReadOnlyMedia(opened.path)) return null
  const log = `${opened.path}-wal`
  const before = [stamp(opened.path), stamp(log)].join()
  const staged = await stageCopy(opened.fd, statSync(opened.path).size, staging, signal)
  const hasLog = (statSync(log, { throwIfNoEntry: false })?.size ?? 0) > 0
  if (hasLog) copyFileSync(log, `${staged}-wal`)
  const isSettled = [opened.path, log].every(path => {
    const { mtimeMs } = statSync(path, { throwIfNoEntry: false }) ?? { mtimeMs: 0 }
    return Date.now() - mtimeMs > SETTLED_MS
  })
  if (!isSettled || [stamp(opened.path), stamp(log)].join() !== before) {
    rmSync(`${staged}-wal`, { force: true })
    throw new NexusError('failed', 'source_moved', `${opened.path} was changed through another mount`, {
      hint: 'run it again, or back it up where it is written',
    })
  }
  if (hasLog && foldLog(staged) === 'damaged') {
    throw new NexusError('damage', 'source_damaged', `${opened.path} cannot be opened with its log, in a copy`, {
      hint: 'look at a copy of it with: sqlite3 COPY .recover',
    })
  }
  return staged
}

function stamp(path: string): string {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false })
  return found === undefined ? 'absent' : `${found.ino}:${found.size}:${found.mtimeNs}`
}
