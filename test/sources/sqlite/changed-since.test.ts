import { openSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { changedSince } from '../../../src/sources/sqlite/changed-since.js'
import { readWalHeader } from '../../../src/sources/sqlite/wal.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { bytesOf, capture, digestsOf } from './capturing.js'
import { type SqlProcess, sqlProcess } from './sql-process.js'
import { buildWal, endOf } from './wal-builder.js'

const PAGE = 1024

async function application(path: string): Promise<SqlProcess> {
  const started = await sqlProcess(path)
  await started.run(`PRAGMA page_size=${PAGE};;PRAGMA auto_vacuum=INCREMENTAL`)
  await started.run('PRAGMA journal_mode=WAL;;PRAGMA wal_autocheckpoint=0;;PRAGMA cache_size=20')
  await started.run('CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, b BLOB)')
  return started
}

const ROWS =
  'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) INSERT INTO t (b) SELECT randomblob(900) FROM n'

/** What a database goes through between two captures. */
const steps: Record<string, (given: { current: SqlProcess; path: string }) => Promise<unknown>> = {
  insert: async ({ current }) => void (await current.run(ROWS)),
  update: async ({ current }) => void (await current.run('UPDATE t SET b = randomblob(900) WHERE id % 7 = 3')),
  same: async ({ current }) => void (await current.run('UPDATE t SET b = b WHERE id % 5 = 1')),
  remove: async ({ current }) => void (await current.run('DELETE FROM t WHERE id % 3 = 0')),
  shrink: async ({ current }) =>
    void (await current.run('DELETE FROM t WHERE id > (SELECT max(id) / 2 FROM t);;PRAGMA incremental_vacuum')),
  vacuum: async ({ current }) => void (await current.run('VACUUM')),
  drop: async ({ current }) => void (await current.run(`CREATE TABLE x AS SELECT * FROM t;;DROP TABLE x`)),
  rolled_back: async ({ current }) => void (await current.run(`BEGIN;;${ROWS};;${ROWS};;ROLLBACK`)),
  passive: async ({ current }) => void (await current.run('PRAGMA wal_checkpoint(PASSIVE)')),
  truncate: async ({ current }) => void (await current.run('PRAGMA wal_checkpoint(TRUNCATE)')),
  restart: async ({ current }) => void (await current.run('PRAGMA wal_checkpoint(RESTART)')),
  crash: async ({ current, path }) => {
    await current.run(`BEGIN;;${ROWS};;UPDATE t SET b = randomblob(900)`)
    await current.kill()
    return application(path)
  },
  reopen: async ({ current, path }) => {
    await current.close()
    return application(path)
  },
  mode_and_back: async ({ current }) =>
    void (await current.run(
      'PRAGMA journal_mode=DELETE;;UPDATE t SET b = zeroblob(900) WHERE id % 4 = 0;;PRAGMA journal_mode=WAL',
    )),
}
// Kept small in number: they end the life of a log.
const rare = ['truncate', 'restart', 'reopen', 'mode_and_back']
const often = Object.keys(steps).filter(name => !rare.includes(name))
const histories = fc.array(
  fc.array(
    fc.oneof({ weight: 7, arbitrary: fc.constantFrom(...often) }, { weight: 1, arbitrary: fc.constantFrom(...rare) }),
    {
      minLength: 1,
      maxLength: 3,
    },
  ),
  { minLength: 2, maxLength: 5 },
)

describe('the pages that the log names', () => {
  test('are all that differ, whatever happened in between', async () => {
    let told = 0
    await fc.assert(
      fc.asyncProperty(histories, async history => {
        const path = join(temporaryDirectory(), 'a.db')
        let current = await application(path)
        await current.run(ROWS)
        let before: { facts: Record<string, unknown>; digests: string[] } | undefined
        for (const names of [[], ...history]) {
          for (const name of names) {
            const replaced = await steps[name]?.({ current, path })
            current = (replaced as SqlProcess | undefined) ?? current
          }
          const captured = await capture(path)
          const digests = digestsOf(bytesOf(captured), PAGE)
          if (before !== undefined) {
            const earlier = { facts: before.facts, blocks: before.digests.length }
            const found = await captured.changedSince(earlier)
            if (found !== null) {
              told += 1
              expect(Array.from(found)).toEqual([...new Set(found)].sort((a, b) => a - b))
              const missed = digests.flatMap((digest, at) =>
                digest !== before?.digests[at] && !found.includes(at) ? [at] : [],
              )
              expect(missed).toEqual([])
              expect(found.every(block => block < digests.length)).toBe(true)
            }
          }
          before = { facts: JSON.parse(JSON.stringify(captured.facts)), digests }
          await captured.confirm()
          await captured.close()
        }
        await current.kill()
      }),
      { numRuns: 12 },
    )
    expect(told).toBeGreaterThan(5)
  })

  test('are few after a small change to a large database', async () => {
    const path = join(temporaryDirectory(), 'a.db')
    const current = await application(path)
    for (let n = 0; n < 10; n += 1) await current.run(ROWS)
    const first = await capture(path)
    await first.close()
    await current.run('UPDATE t SET b = randomblob(900) WHERE id = 77')
    const second = await capture(path)
    const found = await second.changedSince({ facts: { ...first.facts }, blocks: first.image.size / PAGE })
    expect(found?.length).toBeGreaterThan(0)
    expect(found?.length).toBeLessThan(6)
  })

  test('are unknown when frames of the earlier image were lost and written anew under the same salts', async () => {
    const path = join(temporaryDirectory(), 'a.db')
    const current = await application(path)
    await current.run(ROWS)
    const kept = readFileSync(`${path}-wal`).length
    await current.run('UPDATE t SET b = randomblob(900)')
    const first = await capture(path)
    await first.close()
    await current.kill()
    // The machine fails: the end of the log never reached the disk, the shared index is gone.
    truncateSync(`${path}-wal`, kept)
    rmSync(`${path}-shm`)
    const again = await sqlProcess(path)
    await again.run('PRAGMA wal_autocheckpoint=0')
    for (let n = 0; n < 3; n += 1) await again.run('UPDATE t SET b = randomblob(900)')
    const second = await capture(path)
    expect(second.facts.wal?.salts).toBe(first.facts.wal?.salts)
    expect(second.facts.wal?.frame).toBeGreaterThan(first.facts.wal?.frame ?? 0)
    expect(await second.changedSince({ facts: { ...first.facts }, blocks: first.image.size / PAGE })).toBeNull()
  })

  test('are found while a writer starts the log over', async () => {
    const path = join(temporaryDirectory(), 'a.db')
    const current = await application(path)
    await current.run(ROWS)
    await current.run('PRAGMA wal_checkpoint(PASSIVE)')
    const first = await capture(path)
    const before = bytesOf(first)
    await current.run('UPDATE t SET b = randomblob(900)')
    expect(readFileSync(`${path}-wal`).toString('hex', 16, 24)).not.toBe(first.facts.wal?.salts)
    await current.run('PRAGMA wal_checkpoint(PASSIVE)')
    expect(bytesOf(first).equals(before)).toBe(true)
    await first.confirm()
    const found = await first.changedSince({ facts: { ...first.facts }, blocks: before.length / PAGE })
    expect(found === null || found.length === 0).toBe(true)
  })

  test('are unknown for facts that are no facts', async () => {
    const path = join(temporaryDirectory(), 'a.db')
    const current = await application(path)
    await current.run(ROWS)
    const captured = await capture(path)
    const { facts } = captured
    const wal = facts.wal ?? { salts: '', frame: 0, checksum: [0, 0] }
    const blocks = captured.image.size / PAGE
    expect(await captured.changedSince({ facts: { ...facts }, blocks })).toEqual(new Uint32Array(0))
    for (const broken of [
      { ...facts, inode: facts.inode + 1 },
      { ...facts, device: facts.device + 1 },
      { ...facts, page_size: 2 * PAGE },
      { ...facts, wal: null },
      { ...facts, wal: 'x' },
      { ...facts, wal: { ...wal, frame: -1 } },
      { ...facts, wal: { ...wal, frame: 0.5 } },
      { ...facts, wal: { ...wal, frame: wal.frame + 1 } },
      { ...facts, wal: { ...wal, frame: '3' } },
      { ...facts, wal: { ...wal, checksum: [1] } },
      { ...facts, wal: { ...wal, checksum: [1, 2] } },
      { ...facts, wal: { ...wal, salts: '0011223344556677' } },
      { ...facts, wal: { salts: wal.salts } },
    ]) {
      expect(await captured.changedSince({ facts: broken, blocks }), JSON.stringify(broken)).toBeNull()
    }
  })

  test('include whatever was cut off and grown again', async () => {
    const sizes = [90, 40, 100]
    const wal = buildWal(
      sizes.map(commit => ({ page: 3, commit, content: Buffer.alloc(512) })),
      { pageSize: 512 },
    )
    const path = join(temporaryDirectory(), 'log')
    writeFileSync(path, wal)
    const log = openSync(path, 'r')
    const header = await readWalHeader(log)
    if (header === null) throw new Error('no header')
    const position = { salts: header.salts, frame: 3, checksum: endOf(wal) }
    const before = { salts: header.salts, frame: 0, checksum: header.checksum }
    const now = { log, header, position, pageCount: 100 }
    const found = await changedSince({ wal: before, blocks: 90 }, now, new AbortController().signal)
    expect(Array.from(found ?? [])).toEqual([2, ...Array.from({ length: 60 }, (_, at) => 40 + at)])
  })
})
