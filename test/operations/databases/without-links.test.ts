import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import Database from 'better-sqlite3'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { finishInterruptedDatabaseRestore } from '../../../src/operations/databases/interrupted-restore.js'
import { type Placement, putInPlace } from '../../../src/operations/databases/put-in-place.js'
import { recordPath } from '../../../src/sources/crash-record.js'
import { testContext } from '../../helpers/context.js'
import { faults, hasDied, mend } from '../../helpers/failing-fs.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

vi.mock('node:fs', async original => (await import('../../helpers/failing-fs.js')).failingSync(await original()))
vi.mock('node:fs/promises', async original =>
  (await import('../../helpers/failing-fs.js')).failingPromises(await original()),
)

// Nothing here waits for a disk.
if (existsSync('/dev/shm')) vi.stubEnv('TMPDIR', '/dev/shm')
afterEach(mend)

const rows = 50
const damaged = Buffer.alloc(8192, 7)
const contents = { live: database('live'), restored: database('restored'), damaged }

/** A database in WAL mode, every row of which says the same. */
function database(text: string): Buffer {
  const path = join(mkdtempSync(join(tmpdir(), 'nexus-backup-test-')), 'made.db')
  const made = new Database(path)
  made.pragma('journal_mode = WAL')
  made.exec('CREATE TABLE t (text)')
  const insert = made.prepare('INSERT INTO t VALUES (?)')
  for (let row = 0; row < rows; row += 1) insert.run(text.padEnd(200, '.'))
  made.close()
  const bytes = readFileSync(path)
  rmSync(dirname(path), { recursive: true })
  return bytes
}

/** What stands at a path: whose rows, all of them and sound, or the damaged file. */
function contentOf(path: string): string {
  if (readFileSync(path).equals(damaged)) return 'damaged'
  const copy = join(temporaryDirectory(), 'copy')
  for (const suffix of ['', '-wal', '-journal']) {
    if (existsSync(path + suffix)) copyFileSync(path + suffix, copy + suffix)
  }
  const database = new Database(copy)
  try {
    const found = database.prepare('SELECT text, count(*) AS count FROM t GROUP BY text').all() as {
      text: string
      count: number
    }[]
    const sound = database.pragma('integrity_check', { simple: true })
    return found.map(({ text, count }) => `${text.replaceAll('.', '')} ${count} ${sound}`).join()
  } finally {
    database.close()
  }
}

const live = `live ${rows} ok`

/** A database in a directory of its own, and what is about to take its place. */
function place(wanted: { staged: 'restored' | 'damaged'; sidecar?: string }) {
  const room = temporaryDirectory()
  const target = join(room, 'app.db')
  const staged = join(room, '.app.db.staged')
  writeFileSync(target, contents.live)
  const { sidecar } = wanted
  if (sidecar !== undefined) writeFileSync(`${staged}-wal`, sidecar)
  const placement: Placement = {
    source: 'app',
    target,
    staged,
    scratch: true,
    sidecars: sidecar === undefined ? [] : [{ from: `${staged}-wal`, to: `${target}-wal` }],
    previous: `${target}.before-restore-20251201T000000.000Z`,
    service: null,
    allowOtherNames: false,
    problems: [],
  }
  const run = () => putInPlace(testContext(), placement, async () => writeFileSync(staged, contents[wanted.staged]))
  return { room, target, placement, run }
}

/** The next run of another process, after this one has died. */
async function nextRun(target: string): Promise<'none' | 'finished' | 'undone'> {
  mend()
  const record = recordPath(target)
  if (existsSync(record)) {
    const dead = { ...JSON.parse(readFileSync(record, 'utf8')), pid: 2 ** 22 - 1, started: 'never' }
    writeFileSync(record, JSON.stringify(dead))
  }
  const source = { name: 'app', path: target, service: null }
  return finishInterruptedDatabaseRestore(testContext(), source)
}

/** A journal without a header means nothing to SQLite. */
function isUnarmed(path: string): boolean {
  return (
    path.endsWith('app.db-journal') &&
    readFileSync(path)
      .subarray(0, 1)
      .every(byte => byte === 0)
  )
}

/**
 * Names beside the database that are neither it nor what is set aside. A claim is used again by the next run, and sidecars
 * of the live database that hold nothing are what SQLite leaves.
 */
function leftovers(room: string): string[] {
  const known = /^app\.db(-shm|-wal|\.before-\S+Z)?$|claim$|\.new$/
  return readdirSync(room).filter(name => !known.test(name) && !isUnarmed(join(room, name)))
}

describe.each([
  { links: false, staged: 'restored', after: `restored ${rows} ok` },
  { links: true, staged: 'restored', after: `restored ${rows} ok` },
  { links: false, staged: 'damaged', after: 'damaged' },
] as const)('a restore of $staged content, hard links: $links', ({ links, staged, after }) => {
  it('puts it in place and keeps what it replaces', async () => {
    const { room, target, placement, run } = place({ staged })
    faults.links = links
    expect(await run()).toBe(placement.previous)
    expect([contentOf(target), contentOf(placement.previous)]).toEqual([after, live])
    expect(leftovers(room)).toEqual([])
  })

  it('is wholly done or not at all wherever it is killed', async () => {
    const outcomes = new Set<string>()
    for (let at = 1; ; at += 1) {
      const { room, target, placement, run } = place({ staged })
      Object.assign(faults, { links, dieAt: at, calls: 0 })
      const outcome = await run().catch((error: unknown) => error)
      if (!hasDied()) break
      if (!(outcome instanceof Error)) throw new Error(`it survived its death at call ${at}`)
      await nextRun(target)
      const found = contentOf(target)
      outcomes.add(found)
      expect([live, after], `killed at call ${at}`).toContain(found)
      if (found === after) expect(contentOf(placement.previous), `killed at call ${at}`).toBe(live)
      expect(leftovers(room), `killed at call ${at}`).toEqual([])
    }
    expect([...outcomes].sort()).toEqual([live, after].sort())
  })

  it('changes nothing on a disk that fills up', async () => {
    for (let at = 1; ; at += 1) {
      const { room, target, run } = place({ staged })
      Object.assign(faults, { links, fullAt: at, writes: 0 })
      const outcome = await run().catch((error: unknown) => error)
      if (faults.writes < at) break
      expect(contentOf(target), `full at write ${at}`).toBe(outcome instanceof Error ? live : after)
      mend()
      await nextRun(target)
      expect(leftovers(room), `full at write ${at}`).toEqual([])
    }
  })
})

describe('sidecars that come back without hard links', () => {
  it('arrive with their database', async () => {
    const { target, placement, run } = place({ staged: 'damaged', sidecar: 'a log of something' })
    faults.links = false
    await run()
    expect(readFileSync(`${target}-wal`, 'utf8')).toBe('a log of something')
    expect([contentOf(target), contentOf(placement.previous)]).toEqual(['damaged', live])
  })
})
