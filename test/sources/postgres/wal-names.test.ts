import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  formatLsn,
  historyName,
  isSegmentSize,
  parseLsn,
  parseWalName,
  segmentAt,
  segmentBeside,
  segmentName,
  segmentNumber,
  segmentStart,
} from '../../../src/sources/postgres/wal-names.js'

const sizes = fc.integer({ min: 20, max: 30 }).map(exponent => 2 ** exponent)
const timelines = fc.integer({ min: 1, max: 0xffffffff })
const lsns = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn })

describe('names of WAL files', () => {
  it('are told apart by kind', () => {
    expect(parseWalName('0000000A00000001000000FE')).toEqual({
      kind: 'segment',
      name: '0000000A00000001000000FE',
      timeline: 10,
      log: 1,
      segment: 254,
    })
    expect(parseWalName('00000002.history')).toMatchObject({ kind: 'history', timeline: 2 })
    expect(parseWalName('000000010000000000000003.partial')).toMatchObject({ kind: 'partial', segment: 3 })
    expect(parseWalName('000000010000000000000003.00000028.backup')).toMatchObject({ kind: 'backup', offset: 40 })
  })

  it.each([
    '',
    '00000001',
    '00000000000000000000000A',
    '00000000.history',
    '00000001000000000000000a',
    '0000000100000000000000010',
    '../000000010000000000000001',
    '000000010000000000000001\n',
    '000000010000000000000001.partial.partial',
    '000000010000000000000001.28.backup',
    'archive_status',
  ])('are refused when a server never gives them: %j', name => {
    expect(parseWalName(name)).toBeUndefined()
  })

  it('say where a segment begins, and a position says in which segment it lies, for every size and timeline', () => {
    fc.assert(
      fc.property(sizes, timelines, lsns, (bytes, timeline, lsn) => {
        const number = segmentAt(lsn, bytes)
        const name = segmentName(timeline, number, bytes)
        const parsed = parseWalName(name)
        if (parsed?.kind !== 'segment') throw new Error(`${name} is no segment`)
        expect(parsed.timeline).toBe(timeline)
        expect(segmentNumber(parsed, bytes)).toBe(number)
        expect(segmentStart(number, bytes) <= lsn).toBe(true)
        expect(lsn - segmentStart(number, bytes) < BigInt(bytes)).toBe(true)
      }),
    )
  })

  it('follow one another in the order of text within a timeline', () => {
    fc.assert(
      fc.property(sizes, timelines, fc.integer({ min: 0, max: 2 ** 33 }), (bytes, timeline, number) => {
        const [name, next] = [segmentName(timeline, number, bytes), segmentName(timeline, number + 1, bytes)]
        expect(name < next).toBe(true)
        expect(segmentBeside(name, 1, bytes)).toBe(next)
        expect(segmentBeside(next, -1, bytes)).toBe(name)
      }),
    )
  })

  it('go on in the next log where a log ends', () => {
    const mib = 1024 * 1024
    expect(segmentBeside('0000000100000000000000FF', 1, 16 * mib)).toBe('000000010000000100000000')
    expect(segmentBeside('000000010000000000000003', 1, 1024 * mib)).toBe('000000010000000100000000')
    expect(segmentBeside('000000010000000000000FFF', 1, mib)).toBe('000000010000000100000000')
    expect(segmentBeside('000000010000000000000000', -1, 16 * mib)).toBeUndefined()
    expect(segmentBeside('00000001FFFFFFFF000000FF', 1, 16 * mib)).toBeUndefined()
    expect(segmentBeside('00000002.history', 1, 16 * mib)).toBeUndefined()
    // A number that segments of this size do not reach.
    expect(segmentNumber({ log: 0, segment: 256 }, 16 * mib)).toBeUndefined()
  })

  it('have no segments of other sizes than powers of two from 1 MiB to 1 GiB', () => {
    expect([2 ** 20, 2 ** 24, 2 ** 30].every(isSegmentSize)).toBe(true)
    expect([0, 1, 2 ** 19, 2 ** 31, 3 * 2 ** 20, 2 ** 20 + 1].some(isSegmentSize)).toBe(false)
    expect(() => segmentName(1, 0, 1000)).toThrow('cannot be the size')
  })

  it('of histories hold the timeline', () => {
    expect(historyName(0x1a)).toBe('0000001A.history')
  })
})

describe('positions', () => {
  it('are written as PostgreSQL does and read back', () => {
    expect(formatLsn(0x16_b374_d848n)).toBe('16/B374D848')
    expect(parseLsn('0/2000028')).toBe(0x2000028n)
    fc.assert(fc.property(lsns, lsn => parseLsn(formatLsn(lsn)) === lsn))
  })

  it.each(['', '0', '0/', '/0', '0/123456789', 'G/0', '0/0 '])('are not read from %j', text => {
    expect(parseLsn(text)).toBeUndefined()
  })
})
