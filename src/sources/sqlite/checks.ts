import type Database from 'better-sqlite3'
import { messageOf } from '../../errors.js'
import type { CheckOutcome } from './pin-protocol.js'

const MAX_DETAIL = 100_000

/**
 * Runs SQLite's own check and the content checks on a connection. A check that cannot run has failed where SQLite calls
 * the database malformed, and is an `error` otherwise: no memory, no room for a sort, a query that is no SQL. Its detail is
 * SQLite's message.
 */
export function runChecks(
  database: Database.Database,
  level: 'integrity' | 'quick' | 'none',
  queries: readonly string[],
): CheckOutcome[] {
  const outcomes = queries.map(query => contentCheck(database, query))
  if (level === 'none') return outcomes
  return [integrityCheck(database, level === 'integrity' ? 'integrity_check' : 'quick_check'), ...outcomes]
}

function integrityCheck(database: Database.Database, name: string): CheckOutcome {
  try {
    const rows = database.prepare<[], string>(`PRAGMA ${name}`).pluck().all()
    const status = rows.length === 1 && rows[0] === 'ok' ? 'ok' : 'failed'
    return { name, kind: 'integrity', status, detail: rows.join('\n').slice(0, MAX_DETAIL) }
  } catch (error) {
    return needsApplication(error) ? checkInParts(database, name, error) : failed(name, 'integrity', error)
  }
}

/**
 * For a database whose tables use what only its application defines (a collation, a function in an index): SQLite
 * cannot even begin integrity_check on it, which says nothing about damage. Every table is checked by itself as far as
 * that goes, and all pages of all trees are walked.
 */
function checkInParts(database: Database.Database, name: string, reason: Error): CheckOutcome {
  const tables = database.prepare<[], string>("SELECT name FROM sqlite_schema WHERE type = 'table'").pluck().all()
  const problems: string[] = []
  /** What kept SQLite from looking. */
  const troubles: string[] = []
  const tell = (error: unknown) => void (isDamage(error) ? problems : troubles).push(messageOf(error))
  for (const table of tables) {
    try {
      problems.push(...tableProblems(database, table))
    } catch (error) {
      if (!needsApplication(error)) tell(error)
    }
  }
  try {
    const torn = database.prepare("SELECT count(*) FROM dbstat WHERE pagetype = 'corrupted'").pluck().get()
    if (torn !== 0) problems.push(`${torn} pages are malformed`)
  } catch (error) {
    tell(error)
  }
  const unseen = `not checked is what needs the application itself: ${reason.message}`
  const found = [...problems, ...troubles]
  const detail = [...(found.length === 0 ? ['ok'] : found), unseen].join('\n').slice(0, MAX_DETAIL)
  const status = problems.length > 0 ? 'failed' : troubles.length > 0 ? 'error' : 'ok'
  return { name, kind: 'integrity', status, detail }
}

function tableProblems(database: Database.Database, table: string): string[] {
  const rows = database
    .prepare<[], string>(`PRAGMA quick_check('${table.replaceAll("'", "''")}')`)
    .pluck()
    .all()
  return rows.filter(row => row !== 'ok')
}

/** The plain SQLITE_ERROR: a statement that cannot be prepared here. Damage has codes of its own. */
function needsApplication(error: unknown): error is Error {
  const { code } = error as { code?: unknown }
  return error instanceof Error && (code === 'SQLITE_ERROR' || code === 'SQLITE_ERROR_MISSING_COLLSEQ')
}

function contentCheck(database: Database.Database, query: string): CheckOutcome {
  try {
    const statement = database.prepare(query)
    if (!statement.reader || !statement.readonly) throw new Error('a content check must be a query that only reads')
    const rows = statement.raw().safeIntegers().all()
    const detail = JSON.stringify(rows, plainValue)
    if (detail.length > MAX_DETAIL) throw new Error(`the result is longer than ${MAX_DETAIL} characters: aggregate it`)
    return { name: query, kind: 'content', status: 'ok', detail }
  } catch (error) {
    return failed(query, 'content', error)
  }
}

/** JSON has neither 64-bit integers nor blobs; both become text that compares exactly. */
function plainValue(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString()
  if (isBufferJson(value)) return { blob: Buffer.from(value.data).toString('hex') }
  return value
}

function isBufferJson(value: unknown): value is { type: 'Buffer'; data: number[] } {
  return typeof value === 'object' && value !== null && (value as { type?: unknown }).type === 'Buffer'
}

/** SQLite’s words for a file whose content is wrong; any other code is about the query or this machine. */
function isDamage(error: unknown): boolean {
  const { code } = error as { code?: unknown }
  return typeof code === 'string' && /^SQLITE_(?:CORRUPT|NOTADB)/.test(code)
}

function failed(name: string, kind: CheckOutcome['kind'], error: unknown): CheckOutcome {
  return { name, kind, status: isDamage(error) ? 'failed' : 'error', detail: messageOf(error) }
}
