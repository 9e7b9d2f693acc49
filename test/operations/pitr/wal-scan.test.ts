import { expect, it } from 'vitest'
import { NexusError } from '../../../src/errors.js'
import { openWalIndex } from '../../../src/operations/pitr/wal-index.js'
import { scanWal } from '../../../src/operations/pitr/wal-scan.js'
import type { WalArchive } from '../../../src/repository/wal/types.js'
import { testContext } from '../../helpers/context.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { commitRecord, writtenWal } from '../../sources/postgres/wal-writing.js'
import { system } from './histories.js'

const line = { timeline: 1, ancestors: [] }
const place = { repository: 'r', source: 'shop', system: '7' }

const MIB = 1024 * 1024

/** Commits between records of other kinds, of which one reaches over the end of each segment. */
const written = Array.from({ length: 120 }, (_, at) =>
  at % 3 === 0
    ? { rmgr: 10, info: 0, xid: at, data: Buffer.alloc(100_003) }
    : { ...commitRecord(100 + at, BigInt(at) * 1_000_000n), data: Buffer.alloc(at % 3 === 1 ? 8 : 1000 + at) },
)
const { segments, positions } = writtenWal(written, { page: 8192, segment: MIB })
const commits = positions.filter((_, at) => written[at]?.rmgr === 1)
const numbers = { first: 1, to: segments.length + 1 }

/** @param damaged numbers of segments that cannot be read */
function archive(damaged: readonly number[] = []): { archive: WalArchive; read: string[] } {
  const read: string[] = []
  const partial = {
    async read(name: string) {
      const number = Number.parseInt(name.slice(16), 16)
      read.push(name)
      if (damaged.includes(number)) throw new NexusError('damage', 'wal_damaged', `${name} is damaged`)
      return { plain: Buffer.from(segments[number - 1] ?? Buffer.alloc(0)) }
    },
    headerOfOurs: async () => ({ closed_at: '2025-11-03T00:00:00.000Z' }),
  }
  return { archive: partial as unknown as WalArchive, read }
}

async function scanned(context: ReturnType<typeof testContext>, of: WalArchive) {
  const known = { ...system([], { 1: [[1, segments.length + 1]] }), segmentBytes: MIB, archive: of }
  const scan = scanWal(context, known, { major: 15, index: await openWalIndex(context, place) })
  const all = []
  for await (const one of scan.scan(line, numbers)) all.push(one)
  await scan.save()
  return { scan, all }
}

it('a scan tells of each segment the commits that begin in it, and remembers them', async () => {
  const progress: (number | undefined)[] = []
  const context = testContext({
    stateDirectory: temporaryDirectory(),
    progress: ({ done, total }) => void progress.push(done, total),
  })
  const first = archive()
  const { all, scan } = await scanned(context, first.archive)
  for (const { segment, facts } of all) {
    const begin = BigInt(segment) * BigInt(MIB)
    const own = commits.filter(lsn => lsn >= begin && lsn < begin + BigInt(MIB))
    expect([facts?.commits?.first.lsn, facts?.commits?.last.lsn]).toEqual([own[0], own.at(-1)])
    const events = []
    for await (const event of scan.events(line, { first: segment, to: segment + 1 })) events.push(event.lsn)
    expect(events).toEqual(own)
  }
  expect(progress.slice(-2)).toEqual([segments.length, segments.length])
  const again = archive()
  const { all: remembered } = await scanned(context, again.archive)
  expect(remembered).toEqual(all)
  expect(again.read).toEqual([])
})

it('a segment that is damaged says so, and the next ones are read all the same', async () => {
  const context = testContext({ stateDirectory: temporaryDirectory() })
  const { all } = await scanned(context, archive([3]).archive)
  expect(all).toHaveLength(segments.length)
  const lost = all.filter(({ facts }) => facts === null)
  expect(lost.every(({ damage, segment }) => damage?.code === 'wal_damaged' && (segment === 2 || segment === 3))).toBe(
    true,
  )
  // Another time it may be there again: nothing is remembered of it.
  const { all: later } = await scanned(context, archive().archive)
  expect(later.every(({ facts }) => facts !== null)).toBe(true)
})
