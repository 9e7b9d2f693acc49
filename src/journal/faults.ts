import Database from 'better-sqlite3'
import { errnoOf, messageOf, NexusError } from '../errors.js'

/** Runs work on the catalog and turns what SQLite and the system say into errors an operator can act on. */
export function guarded<T>(file: string, verb: 'reading' | 'writing', work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof NexusError) throw error
    throw faultOf(error, file, verb)
  }
}

/** The catalog is there but cannot be used as it is. */
export function unusable(
  kind: 'damage' | 'refused',
  code: string,
  file: string,
  why: string,
  cause?: unknown,
): NexusError {
  return new NexusError(kind, code, `the journal ${file} cannot be used: ${why}`, {
    hint: `no backup depends on it; move it aside, and the next run begins a new one: mv ${file} ${file}.aside`,
    cause,
  })
}

function faultOf(error: unknown, file: string, verb: string): unknown {
  const code = error instanceof Database.SqliteError ? error.code : errnoOf(error)
  if (code === undefined) return error
  const failed = `${verb} the journal ${file} failed`
  if (/^SQLITE_(NOTADB|CORRUPT)/.test(code)) {
    return unusable('damage', 'journal_damaged', file, `it is damaged (${messageOf(error)})`, error)
  }
  if (/^(SQLITE_FULL|ENOSPC|EDQUOT)/.test(code)) {
    return new NexusError('failed', 'journal_full', `${failed}: no space left`, {
      hint: `free space on the disk of ${file}; backups are not affected`,
      cause: error,
    })
  }
  if (/^SQLITE_(BUSY|LOCKED)/.test(code)) {
    return new NexusError('locked', 'journal_busy', `${failed}: another process holds it`, {
      hint: `see which process it is: fuser -v ${file}`,
      cause: error,
    })
  }
  if (/^(SQLITE_(READONLY|CANTOPEN|PERM|AUTH)|EACCES|EPERM|EROFS)/.test(code)) {
    return new NexusError('failed', 'journal_permission', `${failed}: ${messageOf(error)}`, {
      hint: 'run as root or as the owner of the state directory, or name another one with --state DIR',
      cause: error,
    })
  }
  return new NexusError('failed', 'journal_error', `${failed}: ${messageOf(error)}`, {
    hint: `look at the disk of ${file} (df, dmesg), or name another state directory with --state DIR`,
    cause: error,
  })
}
