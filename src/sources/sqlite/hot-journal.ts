import { closeSync, copyFileSync, openSync, readSync, rmSync, statSync } from 'node:fs'
import Database from 'better-sqlite3'
import { errnoOf, NexusError } from '../../errors.js'
import type { OpenedDatabase } from './preflight.js'
import { stageCopy } from './staged-copy.js'

const JOURNAL_MAGIC = Buffer.from('d9d505f920a163d7', 'hex')

/**
 * After a crash a rollback journal is left beside the database, and only a writer may roll it back. We do not write
 * there: database and journal are copied, and the copy is rolled back. Returns the path of the recovered copy, or null
 * when `error` was about something else.
 *
 * @throws NexusError when the journal belongs to a transaction over several databases, or changes while being copied
 */
export async function recoverHotJournal(
  error: unknown,
  opened: OpenedDatabase,
  settings: { staging: string; signal: AbortSignal },
): Promise<string | null> {
  if (!(error instanceof NexusError) || error.code !== 'source_needs_rollback') return null
  const journal = `${opened.path}-journal`
  const before = [stamp(opened.path), stamp(journal)].join()
  const staged = await stageCopy(opened.fd, statSync(opened.path).size, settings.staging, settings.signal)
  try {
    copyFileSync(journal, `${staged}-journal`)
  } catch (cause) {
    const hint = 'run as root or as the owner of the database, or start and stop the application once'
    throw new NexusError('failed', 'hot_journal', `${journal} is left from a crash and cannot be read`, { hint, cause })
  }
  if ([stamp(opened.path), stamp(journal)].join() !== before) {
    rmSync(`${staged}-journal`)
    throw new NexusError('failed', 'source_moved', `${opened.path} changed while it was copied`, {
      hint: 'run it again',
    })
  }
  refuseSuperJournal(`${staged}-journal`, journal)
  const copy = new Database(staged)
  try {
    copy.prepare('SELECT count(*) FROM sqlite_schema').get()
  } finally {
    copy.close()
  }
  return staged
}

/** A journal that ends in another journal's name is one of several that must be rolled back together (pager.c, readSuperJournal). */
function refuseSuperJournal(copied: string, journal: string): void {
  const size = statSync(copied).size
  if (size < 16) return
  const fd = openSync(copied, 'r')
  const tail = Buffer.alloc(16)
  readSync(fd, tail, 0, 16, size - 16)
  closeSync(fd)
  if (tail.readUInt32BE(0) > 0 && tail.subarray(8).equals(JOURNAL_MAGIC)) {
    throw new NexusError('failed', 'hot_journal', `${journal} belongs to a transaction over several databases`, {
      hint: 'start and stop the application once: SQLite then completes or undoes that transaction',
    })
  }
}

function stamp(path: string): string {
  try {
    const { ino, size, mtimeNs } = statSync(path, { bigint: true })
    return `${ino}:${size}:${mtimeNs}`
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 'absent'
    throw error
  }
}
