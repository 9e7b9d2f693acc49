import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { KeepPolicy } from '../../../src/config/settings.js'
import type { Context } from '../../../src/context.js'
import { NexusError } from '../../../src/errors.js'
import { openJournal } from '../../../src/journal/journal.js'
import { lockOptions } from '../../../src/operations/locked.js'
import { prune } from '../../../src/operations/prune.js'
import type { PruneResult } from '../../../src/operations/results.js'
import { testContext } from '../../helpers/context.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import {
  contentOf,
  historyContent,
  name,
  range,
  segmentContent,
  system,
  type WalShelf,
  walShelf,
} from '../wal-shelf.js'

const day = 24 * 3600 * 1000
const times = { closedAt: new Date('2025-11-20T00:00:00Z'), now: new Date('2025-11-20T00:00:00Z') }
const now = () => new Date('2025-11-30T03:00:00Z')

async function run(
  one: WalShelf,
  keep: KeepPolicy,
  { dryRun = false, ...wishes }: Partial<Context> & { dryRun?: boolean } = {},
): Promise<PruneResult> {
  const context = testContext({ now, ...wishes })
  const journal = openJournal(temporaryDirectory(), context)
  onTestFinished(() => journal.close())
  return prune(context, journal, { sources: [{ name: 'db', repository: one.settings, keep }], dryRun })
}

/** Bases of the 1st, 8th, 15th and 22nd that begin in segments 2, 10, 20 and 30, and segments 1 to 35. */
async function month(): Promise<{ one: WalShelf; ids: string[] }> {
  const one = await walShelf()
  await one.segments(range(1, 34))
  await one.segments([35], { day: 29 })
  const ids: string[] = []
  for (const [at, number] of [
    [1, 2],
    [8, 10],
    [15, 20],
    [22, 30],
  ] as const)
    ids.push(await one.base(at, number))
  return { one, ids }
}

const segments = (from: number, to: number) => range(from, to).map(number => `1/${number}`)

describe('prune of WAL', () => {
  it('deletes what lies before the oldest kept base, and says so', async () => {
    const { one, ids } = await month()
    const result = await run(one, { last: 3 })
    expect(result.delete.map(({ id }) => id)).toEqual([ids[0]])
    expect(result.wal).toEqual([
      {
        source: 'db',
        system_identifier: system,
        keep_from: name(10),
        delete: { segments: 9, bytes: expect.any(Number), from: name(1), to: name(9) },
        reasons: [`from ${ids[1]} on, the oldest base that is kept`],
      },
    ])
    expect(result.wal[0]?.delete.bytes).toBeGreaterThan(1000)
    expect(result.bytes_freed).toBeGreaterThan(result.wal[0]?.delete.bytes ?? 0)
    expect(await one.archived()).toEqual(segments(10, 35))
  })

  it('keeps with keep.pitr what the window needs; older bases stay as points', async () => {
    const { one, ids } = await month()
    const result = await run(one, { last: 9, pitr: 10 * day })
    expect(result.delete).toEqual([])
    expect(result.keep[2]?.reasons).toEqual(['last 9', expect.stringMatching(/^pitr: the window since 2025-11-19T/)])
    expect(result.wal[0]).toMatchObject({
      keep_from: name(20),
      delete: { segments: 19, from: name(1), to: name(19) },
      reasons: [
        expect.stringContaining(`begins with ${ids[2]}`),
        `${ids[0]} is a point, not the beginning of a window`,
        `${ids[1]} is a point, not the beginning of a window`,
      ],
    })
    expect(await one.archived()).toEqual(segments(20, 35))
  })

  it('keeps the bases that the window hangs on although no other rule does', async () => {
    const { one, ids } = await month()
    const result = await run(one, { last: 1, pitr: 20 * day })
    expect(result.keep.map(({ id }) => id)).toEqual([ids[1], ids[2], ids[3]])
    expect(await one.archived()).toEqual(segments(10, 35))
  })

  it('plans the same in a dry run and touches nothing', async () => {
    const { one } = await month()
    const before = contentOf(one.path())
    const planned = await run(one, { last: 2, pitr: 3 * day }, { dryRun: true })
    expect(contentOf(one.path())).toEqual(before)
    const done = await run(one, { last: 2, pitr: 3 * day })
    expect(planned).toMatchObject({ dry_run: true, bytes_freed: 0, delete: done.delete, keep: done.keep })
    expect(planned.wal).toEqual(done.wal)
    expect(planned.wal[0]?.delete.bytes).toBeGreaterThan(1000)
    // A backup's manifest and checksums, which go with it, are not counted beforehand.
    expect(planned.bytes_to_free).toBeGreaterThan(planned.wal[0]?.delete.bytes ?? 0)
    expect(planned.bytes_to_free).toBeLessThanOrEqual(done.bytes_freed)
    expect(done).not.toHaveProperty('bytes_to_free')
  })

  it('deletes nothing the second time', async () => {
    const { one } = await month()
    await run(one, { last: 2, pitr: 3 * day })
    const before = contentOf(one.path('db'))
    const again = await run(one, { last: 2, pitr: 3 * day })
    expect(again).toMatchObject({ delete: [], bytes_freed: 0 })
    expect(again.wal[0]).toMatchObject({ delete: { segments: 0, bytes: 0, from: null, to: null } })
    expect(contentOf(one.path('db'))).toEqual(before)
  })

  it('removes .backup and .partial with their segment, and no history', async () => {
    const { one } = await month()
    const archive = one.archive()
    await archive.put(`${name(2)}.00000028.backup`, Buffer.from('START WAL LOCATION: 0/200028'), times)
    await archive.put(`${name(30)}.00000028.backup`, Buffer.from('START WAL LOCATION: 0/1E00028'), times)
    await archive.put(`${name(4)}.partial`, segmentContent(4), times)
    await archive.put('00000002.history', historyContent([[1, 4]]), times)
    await one.segments([4, 5], { timeline: 2 })
    await run(one, { last: 1 })
    expect(await one.archived()).toEqual(['1/30', '1/30.00000028.backup', ...segments(31, 35), '00000002.history'])
  })

  it('keeps everything where there is no base at all, and says why', async () => {
    const one = await walShelf()
    await one.segments(range(1, 3))
    const result = await run(one, { last: 1, pitr: day })
    expect(result.wal).toMatchObject([
      { keep_from: null, delete: { segments: 0 }, reasons: ['all of it: no base of this system is kept yet'] },
    ])
    expect(await one.archived()).toEqual(segments(1, 3))
  })

  it('keeps everything beside a damaged backup that may be older than every base', async () => {
    const { one, ids } = await month()
    one.rob(ids[0] ?? '', 'db')
    expect((await run(one, { last: 9 })).wal[0]?.reasons).toEqual([expect.stringContaining(`${ids[0]} is damaged`)])
    expect(await one.archived()).toEqual(segments(1, 35))
  })

  it('says nothing of WAL for sources that have none', async () => {
    const one = await walShelf()
    await one.add(1, { source: 'db' })
    expect((await run(one, { last: 1 })).wal).toEqual([])
    expect(existsSync(one.path('db', '.wal-kept-from.json'))).toBe(false)
  })

  it('refuses keep.pitr alone as a policy that keeps no backup', async () => {
    const { one } = await month()
    await expect(run(one, { pitr: 14 * day })).rejects.toMatchObject({
      kind: 'refused',
      code: 'empty_policy',
      hint: expect.stringContaining('daily: 30'),
    })
    expect(await one.archived()).toEqual(segments(1, 35))
  })
})

describe('prune of WAL of several systems', () => {
  const other = '7999999999999999999'

  it('keeps the WAL of the system before a pg_upgrade as long as a base of it is kept, then deletes all of it', async () => {
    const one = await walShelf()
    await one.segments(range(1, 8), { system: other })
    const old = await one.base(2, 4, { system: other })
    await one.segments(range(2, 5), { day: 10 })
    const young = await one.base(11, 3)
    const both = await run(one, { last: 2, pitr: 5 * day })
    expect(both.wal.map(({ system_identifier, keep_from }) => [system_identifier, keep_from]).sort()).toEqual([
      [system, name(3)],
      [other, name(4)],
    ])
    expect(await one.archived(other)).toEqual(segments(4, 8))
    const result = await run(one, { last: 1, pitr: 5 * day })
    expect(result.delete.map(({ id }) => id)).toEqual([old])
    expect(result.wal).toContainEqual({
      source: 'db',
      system_identifier: other,
      keep_from: null,
      delete: { segments: 5, bytes: expect.any(Number), from: name(4), to: name(8) },
      reasons: [`none of it: no base of this system is kept, and system ${system} has taken its place since ${young}`],
    })
    expect(await one.archived(other)).toEqual([])
    expect(await one.archived()).toEqual(segments(3, 5))
  })

  it('keeps the WAL of a new system that has no base yet, and of one that archived after the last base', async () => {
    const one = await walShelf()
    await one.base(2, 4)
    await one.segments(range(4, 6), { day: 3 })
    await one.segments(range(1, 3), { day: 3, system: other })
    const result = await run(one, { last: 1 })
    expect(result.wal.find(({ system_identifier }) => system_identifier === other)?.reasons).toEqual([
      'all of it: no base of this system is kept yet',
    ])
    expect(await one.archived(other)).toEqual(segments(1, 3))
  })
})

describe('an interrupted prune of WAL', () => {
  const stop = new NexusError('interrupted', 'interrupted_sigterm', 'stopped by SIGTERM')

  /** 200 segments, of which a base of the last day leaves ten. */
  async function many(): Promise<WalShelf> {
    const one = await walShelf()
    await one.segments(range(1, 200))
    await one.base(1, 100)
    await one.base(9, 191)
    return one
  }

  it('has deleted the backups first and the oldest WAL, left its plan, and is finished by the next', async () => {
    const one = await many()
    const controller = new AbortController()
    const progress: Context['progress'] = ({ phase }) => phase.endsWith('WAL') && controller.abort(stop)
    await expect(run(one, { last: 1 }, { signal: controller.signal, progress })).rejects.toBe(stop)
    expect((await one.db.entries()).length).toBe(1)
    expect(await one.archived()).toEqual(segments(65, 200))
    const plan = JSON.parse(readFileSync(one.path('db', '.prune-plan.json'), 'utf8'))
    expect(plan.wal).toMatchObject([{ system_identifier: system, keep_from: name(191), files: 190 }])
    const warnings: string[] = []
    const result = await run(one, { last: 1 }, { warn: line => warnings.push(line) })
    expect(warnings).toEqual([expect.stringContaining('finishing the prune of db that was interrupted')])
    expect(result.wal[0]?.delete).toMatchObject({ segments: 126, from: name(65), to: name(190) })
    expect(await one.archived()).toEqual(segments(191, 200))
    expect(existsSync(one.path('db', '.prune-plan.json'))).toBe(false)
  })

  it('waits for who reads, like the prune of backups', async () => {
    const one = await many()
    for (const [lock, mode] of [
      ['writer', 'exclusive'],
      ['delete', 'shared'],
    ] as const) {
      const held = await one.db.lock(lock, mode, lockOptions(testContext(), 'create db'))
      await expect(run(one, { last: 2 })).rejects.toMatchObject({ kind: 'locked' })
      expect(await one.archived()).toEqual(segments(1, 200))
      await held.release()
    }
    expect((await run(one, { last: 2 })).wal[0]?.delete.segments).toBe(99)
  })

  it('reads no history that was damaged: it keeps more instead', async () => {
    const one = await walShelf()
    await one.segments(range(1, 12))
    await one.archive().put('00000002.history', historyContent([[1, 6]]), times)
    await one.segments(range(6, 9), { timeline: 2, day: 28 })
    await one.base(1, 2)
    await one.base(3, 5)
    await one.base(25, 8, { timeline: 2 })
    expect((await run(one, { last: 9, pitr: 10 * day }, { dryRun: true })).wal[0]?.keep_from).toBe(name(5))
    writeFileSync(one.file('00000002.history'), 'torn')
    expect((await run(one, { last: 9, pitr: 10 * day })).wal[0]?.keep_from).toBe(name(2))
    rmSync(one.file('00000002.history'))
    expect((await run(one, { last: 9, pitr: 10 * day })).wal[0]?.keep_from).toBe(name(2))
  })
})
