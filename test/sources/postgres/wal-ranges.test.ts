import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { segmentName, segmentStart } from '../../../src/sources/postgres/wal-names.js'
import {
  contiguousRanges,
  missingRanges,
  neededRanges,
  rangeText,
  type SegmentRange,
  type WalWay,
} from '../../../src/sources/postgres/wal-ranges.js'

const bytes = 16 * 1024 * 1024
const at = (segment: number, offset = 40) => segmentStart(segment, bytes) + BigInt(offset)
const names = (timeline: number, numbers: readonly number[]) =>
  numbers.map(number => segmentName(timeline, number, bytes))
const listed = (ranges: readonly SegmentRange[]) =>
  ranges.flatMap(({ timeline, first, last }) =>
    names(
      timeline,
      Array.from({ length: last - first + 1 }, (_, index) => first + index),
    ),
  )

describe('ranges of segments', () => {
  it('say exactly what is there, joined where nothing lies between, whatever the order', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.tuple(fc.integer({ min: 1, max: 3 }), fc.nat(600))), pairs => {
        const there = pairs.map(([timeline, number]) => segmentName(timeline, number, bytes))
        const ranges = contiguousRanges(there, bytes)
        expect(listed(ranges).sort()).toEqual([...new Set(there)].sort())
        for (const [index, range] of ranges.entries()) {
          const next = ranges[index + 1]
          if (next?.timeline === range.timeline) expect(next.first).toBeGreaterThan(range.last + 1)
        }
      }),
    )
  })

  it('pass over what is no whole segment', () => {
    const files = ['00000002.history', '000000010000000000000003.partial', '000000010000000000000003.00000028.backup']
    expect(contiguousRanges([...files, ...names(1, [4])], bytes)).toEqual([{ timeline: 1, first: 4, last: 4 }])
  })

  it('of what is missing are exactly what is needed and not there', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(40)), fc.nat(40), fc.nat(20), (numbers, first, length) => {
        const present = contiguousRanges(names(1, numbers), bytes)
        const missing = missingRanges([{ timeline: 1, first, last: first + length }], present)
        const wanted = names(
          1,
          Array.from({ length: length + 1 }, (_, index) => first + index),
        )
        expect(listed(missing)).toEqual(wanted.filter(name => !names(1, numbers).includes(name)))
      }),
    )
  })

  it('are told in words', () => {
    expect(rangeText({ timeline: 1, first: 2, last: 2 }, bytes)).toBe('000000010000000000000002')
    expect(rangeText({ timeline: 1, first: 2, last: 3 }, bytes)).toContain(' to 000000010000000000000003')
    expect(rangeText({ timeline: 1, first: 2, last: Infinity }, bytes)).toContain('and all after it')
  })
})

describe('the way of recovery', () => {
  // 1 was left in the middle of segment 5, 2 in the middle of segment 9.
  const ancestors = [
    { timeline: 1, until: at(5, 4096) },
    { timeline: 2, until: at(9, 4096) },
  ]
  const way: WalWay = { start: at(3), timeline: 1, targetTimeline: 3, ancestors }

  it('reads a segment in which a timeline was left from the newer one', () => {
    expect(neededRanges(way, at(11), bytes)).toEqual([
      { timeline: 1, first: 3, last: 4 },
      { timeline: 2, first: 5, last: 8 },
      { timeline: 3, first: 9, last: 11 },
    ])
  })

  it('ends where the end lies, also on a timeline in between', () => {
    expect(neededRanges(way, at(6), bytes)).toEqual([
      { timeline: 1, first: 3, last: 4 },
      { timeline: 2, first: 5, last: 6 },
    ])
    expect(neededRanges({ ...way, timeline: 3, start: at(10) }, at(10, 50), bytes)).toEqual([
      { timeline: 3, first: 10, last: 10 },
    ])
  })

  it('does not exist from a timeline that the target did not come from, or that it left before', () => {
    expect(neededRanges({ ...way, timeline: 4 }, null, bytes)).toBeUndefined()
    expect(neededRanges({ ...way, start: at(5, 5000) }, null, bytes)).toBeUndefined()
    expect(neededRanges({ ...way, start: at(5, 4096) }, at(5, 5000), bytes)).toEqual([
      { timeline: 2, first: 5, last: 5 },
    ])
  })
})
