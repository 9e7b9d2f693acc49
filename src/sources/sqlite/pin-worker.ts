import { closeSync, openSync } from 'node:fs'
import { parentPort } from 'node:worker_threads'
import Database from 'better-sqlite3'
import { errnoOf, messageOf } from '../../errors.js'
import { runChecks } from './checks.js'
import type { CheckOutcome, PinnedSnapshot, PinRequest, PinResponse } from './pin-protocol.js'
import { readWalIndexHeader, type WalIndexHeader } from './wal-index.js'

let database: Database.Database | undefined
let sharedIndex: number | undefined

parentPort?.on('message', (request: PinRequest) => {
  try {
    parentPort?.postMessage({ value: answer(request) } satisfies PinResponse)
  } catch (error) {
    const code = (error as { code?: unknown }).code
    const sqlite = typeof code === 'string' && code.startsWith('SQLITE_') ? code : undefined
    const failure = { message: messageOf(error), sqlite, missing: errnoOf(error) === 'ENOENT' }
    parentPort?.postMessage({ failure } satisfies PinResponse)
  }
})

function answer(request: PinRequest): PinnedSnapshot | CheckOutcome[] | null {
  if (request.kind === 'pin') return pin(request)
  if (request.kind === 'check') {
    if (database === undefined) throw new Error('no snapshot is pinned')
    return runChecks(database, request.level, request.queries)
  }
  database?.close()
  database = undefined
  if (sharedIndex !== undefined) closeSync(sharedIndex)
  sharedIndex = undefined
  return null
}

/** Opens the database for reading and holds one read transaction until `close`. */
function pin(request: { path: string; busyTimeoutMs: number; attempts: number }): PinnedSnapshot {
  const connection = new Database(request.path, { readonly: true, fileMustExist: true, timeout: request.busyTimeoutMs })
  database = connection
  const touch = connection.prepare('SELECT count(*) FROM sqlite_schema')
  connection.exec('BEGIN')
  touch.get()
  const journalMode = String(connection.pragma('journal_mode', { simple: true }))
  const wal = journalMode === 'wal' ? bracket(connection, touch, request) : null
  return {
    journalMode,
    pageSize: Number(connection.pragma('page_size', { simple: true })),
    pageCount: Number(connection.pragma('page_count', { simple: true })),
    sqliteVersion: String(connection.prepare('SELECT sqlite_version()').pluck().get()),
    wal,
  }
}

/**
 * Finds out which commit the transaction sees, so that the bytes read beside it are of the same one: the shared index
 * is read before and after the transaction begins, until both readings agree.
 *
 * With the commit known, no copy of the log is needed. Either fewer frames than the commit's were backfilled after the
 * transaction began: then it holds a read mark above 0, the log cannot be started over and backfill stops at the mark,
 * so the file under frames 1..commit is the image. Or all were: then the file alone is the image, and stays it, because
 * backfill beyond the commit needs a lock that conflicts with ours (SQLite wal.c, walTryBeginRead and walCheckpoint).
 *
 * The descriptor is closed only after the connection: closing any descriptor of `-shm` drops this process's locks
 * on it (anchors/sqlite.md 2, rule 6).
 */
function bracket(
  connection: Database.Database,
  touch: Database.Statement,
  request: { path: string; attempts: number },
): PinnedSnapshot['wal'] {
  const shm = openSync(`${request.path}-shm`, 'r')
  sharedIndex = shm
  for (let attempt = 0; attempt < request.attempts; attempt += 1) {
    connection.exec('COMMIT')
    const before = readWalIndexHeader(shm)
    connection.exec('BEGIN')
    touch.get()
    const after = readWalIndexHeader(shm)
    // Once more, because a log that is started over changes its header before its backfill count: a reading torn
    // between the two would pair the old header with the new count (SQLite wal.c, walRestartHdr).
    const settled = readWalIndexHeader(shm)
    if (before !== null && after?.raw.equals(before.raw) && settled?.raw.equals(before.raw)) return positionOf(after)
  }
  throw new Error('other processes commit so often that no moment between two commits could be found')
}

function positionOf(header: WalIndexHeader): PinnedSnapshot['wal'] {
  if (header.frame === 0) return null
  return {
    frame: header.frame,
    checksum: header.checksum,
    salts: header.salts,
    backfilled: header.backfilled >= header.frame,
  }
}
