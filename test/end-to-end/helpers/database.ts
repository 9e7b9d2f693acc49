import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { printed, program, type Running, type RunOptions, startProcess } from './run.js'

export interface MakeOptions extends RunOptions {
  /** `wal` unless said otherwise. */
  mode?: 'wal' | 'delete'
  /** Rows of about 120 bytes. */
  rows?: number
  /** Bytes; SQLite's default unless said otherwise. */
  pageSize?: number
}

/** Makes a database by a process of its own, closed cleanly. Its generation is 0. */
export async function makeDatabase(
  path: string,
  { mode = 'wal', rows = 400, pageSize = 4096, ...options }: MakeOptions = {},
): Promise<void> {
  const { done } = startProcess(
    process.execPath,
    [program('make-database'), path, mode, String(rows), String(pageSize)],
    options,
  )
  const { code, stderr } = await done
  if (code !== 0) throw new Error(`the database could not be made: ${stderr}`)
}

/** Commits another generation: every 16th row and the marker change. The database is closed cleanly. */
export async function changeDatabase(path: string, generation: number, options: RunOptions = {}): Promise<void> {
  const { done } = startProcess(process.execPath, [program('change-database'), path, String(generation)], options)
  const { code, stderr } = await done
  if (code !== 0) throw new Error(`the database could not be changed: ${stderr}`)
}

/**
 * Commits another generation into the write-ahead log and dies without closing: what a crashed application leaves, a
 * database file that is incomplete without its log.
 */
export async function crashAfterCommit(path: string, generation: number, options: RunOptions = {}): Promise<void> {
  const writer = startProcess(process.execPath, [program('change-database'), path, String(generation), 'hold'], options)
  await printed(writer, 'committed')
  writer.child.kill('SIGKILL')
  await writer.done
}

/**
 * Dies in the middle of a transaction of a rollback-journal database, half of which is in its file: what a power cut
 * leaves, a database that is damaged without the hot journal beside it. It needs 4000 rows, so that the cache overflows.
 */
export async function crashMidway(path: string, generation: number, options: RunOptions = {}): Promise<void> {
  const before = readFileSync(path)
  const writer = startProcess(
    process.execPath,
    [program('change-database'), path, String(generation), 'spill'],
    options,
  )
  await printed(writer, 'spilled')
  writer.child.kill('SIGKILL')
  await writer.done
  if (readFileSync(path).equals(before) || !existsSync(`${path}-journal`)) throw new Error('nothing was spilled')
}

/** A program that keeps the database open, idle, until the test ends. */
export async function holdOpen(path: string, options: RunOptions = {}): Promise<Running> {
  const holder = startProcess(process.execPath, [program('hold-open'), path], options)
  await printed(holder, 'open')
  return holder
}

/** What a database says of itself, read from a copy with its log and journal, so that nothing beside it changes. */
export function stateOf(path: string): { integrity: string; generation: number; sum: number } {
  const scratch = mkdtempSync(join(tmpdir(), 'nexus-backup-state-'))
  try {
    const copy = join(scratch, 'copy.db')
    for (const suffix of ['', '-wal', '-journal']) {
      if (existsSync(path + suffix)) copyFileSync(path + suffix, copy + suffix)
    }
    const database = new Database(copy)
    try {
      const integrity = String(database.pragma('integrity_check', { simple: true }))
      const generation = Number(database.prepare('SELECT generation FROM marker').pluck().get())
      const sum = Number(database.prepare('SELECT total(generation) FROM items').pluck().get())
      return { integrity, generation, sum }
    } finally {
      database.close()
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

/** What `stateOf` says of a database of `rows` rows after this generation: the rows and the marker go together. */
export function expectedState(generation: number, rows = 400): ReturnType<typeof stateOf> {
  return { integrity: 'ok', generation, sum: Math.floor((rows + 15) / 16) * generation }
}
