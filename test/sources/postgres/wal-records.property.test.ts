import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { mainData, WalRecords } from '../../../src/sources/postgres/wal-records.js'
import { writtenWal } from './wal-writing.js'

const record = fc.record({
  rmgr: fc.constantFrom(0, 1, 10),
  info: fc.constantFrom(0x10, 0x30),
  xid: fc.nat(1000),
  data: fc.integer({ min: 1, max: 6000 }).chain(size => fc.uint8Array({ minLength: size, maxLength: size })),
})
const records = fc
  .array(record, { minLength: 1, maxLength: 30 })
  .map(all => all.map(one => ({ ...one, data: Buffer.from(one.data) })))

describe('the records of segments', () => {
  it('are those that were written, wherever pages and segments end', () => {
    fc.assert(
      fc.property(records, written => {
        const { segments, positions } = writtenWal(written)
        const reader = new WalRecords(() => true)
        const found = segments.flatMap(segment => [...reader.push(segment)])
        expect(found.map(({ lsn }) => lsn)).toEqual(positions)
        for (const [at, one] of found.entries()) {
          expect([one.rmgr, one.info, one.xid]).toEqual([written[at]?.rmgr, written[at]?.info, written[at]?.xid])
          expect(mainData(one).equals(written[at]?.data ?? Buffer.alloc(0))).toBe(true)
        }
        expect([reader.isUnfinished, reader.last]).toEqual([false, positions.at(-1)])
      }),
      { numRuns: 60 },
    )
  })

  it('are those that are wanted, and the same ones from any segment on', () => {
    fc.assert(
      fc.property(records, fc.nat(), (written, from) => {
        const { segments, positions } = writtenWal(written)
        const first = from % segments.length
        const reader = new WalRecords(rmgr => rmgr === 1)
        const found = segments.slice(first).flatMap(segment => [...reader.push(segment)])
        const begin = BigInt(first + 1) * BigInt(segments[0]?.length ?? 0)
        const wanted = positions.filter((lsn, at) => written[at]?.rmgr === 1 && lsn >= begin)
        expect(found.map(({ lsn }) => lsn)).toEqual(wanted)
      }),
      { numRuns: 60 },
    )
  })

  it('leave out one that is given up in a crash, and go on behind it', () => {
    const data = Buffer.alloc(300, 1)
    const one = (xid: number) => ({ rmgr: 1, info: 0, xid, data })
    const { segments, positions } = writtenWal([one(1), one(2), one(3)])
    const [segment = Buffer.alloc(0)] = segments
    // The second one reaches into the second page: there the server wrote something else after the crash.
    const after =
      writtenWal([one(1), { rmgr: 0, info: 0xd0, xid: 0, data: Buffer.alloc(16) }]).segments[0] ?? Buffer.alloc(0)
    const broken = Buffer.from(segment)
    broken.fill(0, 512)
    segment.copy(broken, 512, 512, 536)
    broken.writeUInt16LE(0x0008, 514)
    broken.writeUInt32LE(0, 528)
    const begin = Number(positions[1] ?? 0n) - 4096
    after.copy(broken, 536, begin, begin + 48)
    const reader = new WalRecords(() => true)
    expect([...reader.push(broken)].map(({ lsn, info }) => [lsn, info])).toEqual([
      [positions[0], 0],
      [4096n + 536n, 0xd0],
    ])
  })

  it('end where an older segment shows through that is used again', () => {
    const one = (xid: number) => ({ rmgr: 1, info: 0, xid, data: Buffer.alloc(100) })
    const all = writtenWal([1, 2, 3, 4, 5, 6].map(one))
    const [used = Buffer.alloc(0)] = all.segments
    const segment = Buffer.from(used)
    // The fourth record is of an earlier use: the one before it lay elsewhere.
    const fourth = Number(all.positions[3] ?? 0n) - 4096
    segment.writeBigUInt64LE(1n, fourth + 8)
    expect([...new WalRecords(() => true).push(segment)].map(({ xid }) => xid)).toEqual([1, 2, 3])
  })

  it('are damage in what is no segment', () => {
    expect(() => [...new WalRecords(() => true).push(Buffer.alloc(8192))]).toThrow(
      expect.objectContaining({ code: 'wal_unreadable' }),
    )
  })
})
