import { expect, onTestFinished, test } from 'vitest'
import { openJournal } from '../../src/journal/journal.js'
import { extendLocksOf, lockUntilKept } from '../../src/operations/extend-locks.js'
import { prune } from '../../src/operations/prune.js'
import { openRepository } from '../../src/repository/open.js'
import type { SourceRoom } from '../../src/repository/types.js'
import { conditionalProxy } from '../helpers/conditional-proxy.js'
import { testContext } from '../helpers/context.js'
import { startS3 } from '../helpers/s3-server.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { historyContent, name, range, system, type WalShelf, walShelf } from './wal-shelf.js'

const server = await startS3()
const DAY_MS = 24 * 3600 * 1000
const times = { closedAt: new Date(), now: new Date() }

/** A shelf in a bucket with object lock, everything on it locked for two days. */
async function lockedShelf(): Promise<{ one: WalShelf; lockedFor(days: number): Promise<SourceRoom> }> {
  const place = await server.newPlace({}, { objectLock: true })
  const { endpoint } = await conditionalProxy(server, place)
  const settings = (days: number) => ({ ...place, endpoint, objectLock: { mode: 'GOVERNANCE' as const, days } })
  const one = await walShelf(settings(2))
  return {
    one,
    async lockedFor(days) {
      return (await openRepository({ ...one.settings, s3: settings(days) })).source('db')
    },
  }
}

/** Names of the files of the log that are locked for more than two days. */
async function extended(room: SourceRoom): Promise<string[]> {
  const archive = room.wal(system)
  const locks = (await archive.names()).map(async file => [...(await archive.lockedUntil([file]))])
  const all = (await Promise.all(locks)).flat()
  return all.filter(([, until]) => until.getTime() - Date.now() > 3 * DAY_MS).map(([file]) => file)
}

test('the log from the first segment of the chain on is locked as long as the chain, histories too', async () => {
  const { one, lockedFor } = await lockedShelf()
  await one.segments(range(1, 8))
  await one.segments([9], { timeline: 2 })
  await one.archive().put('00000002.history', historyContent([[1, 8]]), times)
  const full = await one.base(8, 4)
  await one.base(9, 6, { type: 'incr', parent: full })
  const chain = (await one.db.entries()).flatMap(entry => (entry.status === 'ok' ? [entry.manifest] : []))
  const room = await lockedFor(30)
  const report = await extendLocksOf(room, chain)
  expect(report).toEqual({ until: expect.any(String), backups: 2, wal: 7 })
  expect(await extended(room)).toEqual(
    [...range(4, 8).map(number => name(number)), '00000002.history', name(9, 2)].sort(),
  )
  expect(await extendLocksOf(room, chain)).toMatchObject({ backups: 0, wal: 0 })
  // A full depends on nothing; a directory locks nothing.
  expect(await extendLocksOf(room, [])).toMatchObject({ backups: 0, wal: 0 })
  expect(await extendLocksOf((await walShelf()).db, chain)).toBeNull()
})

test('a backup that is to be kept until a date is locked until then, with what it depends on', async () => {
  const { one, lockedFor } = await lockedShelf()
  const full = await one.base(8, 4)
  const incr = await one.base(9, 6, { type: 'incr', parent: full })
  const chain = (await one.db.entries()).flatMap(entry => (entry.status === 'ok' ? [entry.manifest] : []))
  const room = await lockedFor(2)
  const warnings: string[] = []
  const context = { warn: (message: string) => void warnings.push(message) }
  const until = room.lockEnd()?.toISOString() ?? ''
  const keep = (keep_until: string | null) =>
    lockUntilKept(context, room, { id: incr, keep_until }, { chain: chain.slice(0, 1), until })
  expect(await keep(null)).toBe(until)
  expect(await keep(new Date().toISOString())).toBe(until)
  expect([await keep('forever'), warnings]).toEqual([until, [expect.stringContaining('only until')]])
  const date = new Date(Date.now() + 50 * DAY_MS).toISOString()
  expect(await keep(date)).toBe(date)
  const locked = await room.lockedUntil([full, incr])
  for (const id of [full, incr])
    expect(Math.abs((locked.get(id)?.getTime() ?? 0) - Date.parse(date))).toBeLessThan(2000)
  // The next create asks for less: what lasts longer stays as it is.
  expect(await extendLocksOf(room, chain)).toMatchObject({ backups: 0 })
})

test('prune keeps of the log what is locked, and says until when', async () => {
  const { one } = await lockedShelf()
  await one.segments(range(1, 4))
  await one.base(8, 4)
  const context = testContext({ now: () => new Date('2025-11-30T03:00:00Z') })
  const journal = openJournal(temporaryDirectory(), context)
  onTestFinished(() => journal.close())
  const result = await prune(context, journal, {
    sources: [{ name: 'db', repository: one.settings, keep: { last: 1 } }],
    dryRun: false,
  })
  expect(result.wal[0]).toMatchObject({
    delete: { segments: 0 },
    reasons: [
      expect.any(String),
      expect.stringMatching(/^locked by the store until .*: 3 files that would go otherwise$/),
    ],
  })
  expect(await one.archive().names()).toEqual(range(1, 4).map(number => name(number)))
})
