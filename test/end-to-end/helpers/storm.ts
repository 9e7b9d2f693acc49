import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect } from 'vitest'
import { type Place, place } from './place.js'
import { printed, program, type Running, startProcess } from './run.js'

const SLOTS = 8

/** A ledger under fire, with its own repository. */
export interface Storm extends Place {
  /** Starts one of the programs `storm-NAME.mjs` on the ledger; resolves when it runs. */
  unleash(name: string, args?: readonly string[]): Promise<Running>
  /** Starts a program that commits; `slot` is its own. */
  writer(name: string, slot: number, args?: readonly string[]): Promise<Running>
  /** Highest sequence numbers: committed for certain, and possibly committed. */
  bounds(): { committed: number; started: number }
}

/** One backup taken while the storm went on. */
export interface Point {
  id: string
  type: string
  /** The ledger's sequence number can only be between these. */
  from: number
  to: number
}

export async function storm(options: Record<string, unknown> = {}): Promise<Storm> {
  const where = place()
  const made = startProcess(process.execPath, [program('storm-make'), where.database, JSON.stringify(options)])
  const { code, stderr } = await made.done
  if (code !== 0) throw new Error(`the ledger could not be made: ${stderr}`)
  const progress = join(where.directory, 'progress')
  const words = Buffer.alloc(SLOTS * 16)
  // The making of the ledger was its first commit.
  for (const at of [0, 8]) words.writeBigUInt64LE(1n, at)
  writeFileSync(progress, words)
  const unleash = async (name: string, args: readonly string[] = []) => {
    const running = startProcess(process.execPath, [program(`storm-${name}`), where.database, ...args])
    await printed(running, 'running')
    return running
  }
  return {
    ...where,
    unleash,
    writer: (name, slot, args = []) => unleash(name, [progress, String(slot), ...args]),
    bounds() {
      const words = readFileSync(progress)
      const highest = (offset: number) =>
        Math.max(...Array.from({ length: SLOTS }, (_, slot) => Number(words.readBigUInt64LE(slot * 16 + offset))))
      return { committed: highest(8), started: highest(0) }
    },
  }
}

/** Ends a program as told and returns what it counted. */
export async function calm(running: Running): Promise<Record<string, number>> {
  running.child.kill('SIGTERM')
  const { code, stdout, stderr } = await running.done
  if (code !== 0) throw new Error(`the program ended with ${code}: ${stderr}`)
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '')
}

/**
 * Takes backups one after another until `milliseconds` are over and there are at least so many, however slow the machine;
 * every single one must end well.
 */
export async function captureFor(
  where: Storm,
  milliseconds: number,
  { types = ['full', 'incr', 'incr', 'diff', 'incr', 'auto'], args = [] as string[], pause = 0, least = 1 } = {},
): Promise<Point[]> {
  const points: Point[] = []
  const end = performance.now() + milliseconds
  for (let turn = 0; turn < least || performance.now() < end; turn += 1) {
    const from = where.bounds().committed
    const type = types[turn % types.length] ?? 'auto'
    const { code, document, error } = await where.json('create', ['--init', '--type', type, ...args])
    const { started: to } = where.bounds()
    expect({ code, failures: document?.failures, error }).toEqual({ code: 0, failures: [], error: undefined })
    const [backup] = document.backups
    points.push({ id: backup.id, type: backup.type, from, to })
    if (pause > 0) await new Promise(resolve => setTimeout(resolve, pause))
  }
  return points
}

/** Restores each point and holds it against what the writers committed. Returns the sequence numbers found. */
export async function proveAll(where: Storm, points: readonly Point[], width = 2): Promise<number[]> {
  const found: number[] = []
  const rest = [...points.entries()]
  const lane = async () => {
    for (let next = rest.shift(); next !== undefined; next = rest.shift()) {
      const [position, point] = next
      found[position] = await prove(where, point)
    }
  }
  await Promise.all(Array.from({ length: width }, lane))
  return found
}

async function prove(where: Storm, point: Point): Promise<number> {
  const copy = join(where.directory, `${point.id}.db`)
  try {
    await where.ok('restore', [point.id, '--to', copy])
    const state = ledgerState(copy)
    expect({ id: point.id, ...state.problems }).toEqual({ id: point.id })
    expect(state.seq, `${point.id} shows a state of its time`).toBeGreaterThanOrEqual(point.from)
    expect(state.seq, `${point.id} shows a state of its time`).toBeLessThanOrEqual(point.to)
    return state.seq
  } finally {
    for (const suffix of ['', '-wal', '-shm']) rmSync(copy + suffix, { force: true })
  }
}

/** The sequence number of a ledger and everything in which it contradicts itself. */
export function ledgerState(path: string): { seq: number; problems: Record<string, unknown> } {
  const database = new Database(path)
  try {
    const integrity = database.pragma('integrity_check', { simple: true })
    const marker = database.prepare('SELECT * FROM marker').get() as Record<string, number>
    const entries = database
      .prepare(
        'SELECT count(*) AS entries, coalesce(sum(amount), 0) AS total, coalesce(sum(length(filler)), 0) AS bytes, max(seq) AS seq FROM entries',
      )
      .get() as Record<string, number>
    const balances = database.prepare('SELECT sum(balance) FROM accounts').pluck().get()
    const problems: Record<string, unknown> = {}
    if (integrity !== 'ok') problems.integrity = integrity
    for (const name of ['entries', 'total', 'bytes']) {
      if (marker[name] !== entries[name]) problems[name] = { marker: marker[name], entries: entries[name] }
    }
    if (balances !== marker.total) problems.balances = { balances, total: marker.total }
    if ((entries.seq ?? 0) > (marker.seq ?? 0)) problems.seq = { marker: marker.seq, entries: entries.seq }
    return { seq: marker.seq ?? -1, problems }
  } finally {
    database.close()
  }
}

/** Numbers of a run, for whoever reads the log. */
export function report(title: string, numbers: Record<string, unknown>): void {
  process.stdout.write(`${title}: ${JSON.stringify(numbers)}\n`)
}
