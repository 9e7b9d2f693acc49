import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { basesThrough, missingWal, type WalGap } from '../../../src/operations/verify/verify-wal-plan.js'
import { leadsTo } from '../../../src/policy/wal-window.js'
import { segmentName, segmentStart } from '../../../src/sources/postgres/wal-names.js'
import { contiguousRanges } from '../../../src/sources/postgres/wal-ranges.js'
import {
  base,
  type Segment,
  segment,
  segmentBytes,
  someWalHistory,
  type WalHistory,
} from '../../policy/wal-histories.js'

const bytes = Number(segmentBytes)

function missingOf({ bases, timelines, segments }: Pick<WalHistory, 'bases' | 'timelines' | 'segments'>): WalGap[] {
  const names = segments.map(({ timeline, number }) => segmentName(timeline, number, bytes))
  return missingWal(bases, timelines, contiguousRanges(names, bytes), bytes)
}

/** The timeline that recovery along a line reads a segment of. */
function providerOf(line: WalHistory['timelines'][number], number: number): number {
  const left = line.ancestors.find(({ until }) => number < Number(until / segmentBytes))
  return left?.timeline ?? line.timeline
}

/** `TIMELINE/NUMBER BASE` of everything lost, counted up one by one. */
function countedUp({ bases, timelines, segments }: WalHistory): Set<string> {
  const present = new Set(segments.map(({ name }) => name))
  const lost = new Set<string>()
  for (const line of timelines) {
    const newest = segments.findLast(({ timeline }) => timeline === line.timeline)
    if (newest === undefined) continue
    for (const one of bases) {
      if (!leadsTo(one, line)) continue
      for (let number = Number(one.start / segmentBytes); number <= newest.number; number++) {
        const name = `${providerOf(line, number)}/${number}`
        if (!present.has(name)) lost.add(name)
      }
    }
  }
  return lost
}

describe('what is missing of the WAL, whatever the history', () => {
  it('is each segment that a base needs on its way to the end of a timeline, and no other', () => {
    fc.assert(
      fc.property(someWalHistory(false), history => {
        const gaps = missingOf(history)
        const named = gaps.flatMap(({ timeline, first, last }) =>
          Array.from({ length: last - first + 1 }, (_, index) => `${timeline}/${first + index}`),
        )
        expect(new Set(named)).toEqual(countedUp(history))
        const isHeld = (gap: WalGap) => history.bases.some(({ held }) => held > segmentStart(gap.last, bytes))
        expect(gaps.every(gap => gap.affects.length > 0 || isHeld(gap))).toBe(true)
      }),
      { numRuns: 1000 },
    )
  })

  it('is tested with histories of which something is missing', () => {
    const gaps = fc.sample(someWalHistory(false), { numRuns: 200, seed: 1 }).map(one => missingOf(one).length)
    expect(gaps.filter(count => count > 0).length).toBeGreaterThan(40)
  })
})

describe('what is missing of the WAL', () => {
  const one = (number: number): Segment => segment(1, number)
  const first = { timeline: 1, ancestors: [], lastArchived: null }

  it('is nothing from before the first base, and nothing behind the newest segment', () => {
    const segments = [2, 5, 6].map(one)
    expect(missingOf({ bases: [base('b1', 0, 1, 5), base('b2', 0, 1, 9)], timelines: [first], segments })).toEqual([])
  })

  it('is named as ranges with the bases before them, also at the very start of the oldest base', () => {
    const bases = [base('b1', 0, 1, 5), base('b2', 0, 1, 9), base('b3', 0, 1, 10), base('b4', 0, 1, 13)]
    expect(missingOf({ bases, timelines: [first], segments: [7, 8, 12, 14].map(one) })).toEqual([
      { timeline: 1, first: 5, last: 6, affects: ['b1'] },
      { timeline: 1, first: 9, last: 11, affects: ['b1', 'b2', 'b3'] },
      { timeline: 1, first: 13, last: 13, affects: ['b1', 'b2', 'b3'] },
    ])
  })

  it('does not count up to what a hostile history claims', () => {
    const far = { timeline: 2, ancestors: [{ timeline: 1, until: 2n ** 62n }], lastArchived: null }
    const segments = [5, 6, 2 ** 39].map(number => segment(number > 6 ? 2 : 1, number))
    const gaps = missingOf({ bases: [base('b1', 0, 1, 5)], timelines: [first, far], segments })
    expect(gaps).toMatchObject([
      { timeline: 1, first: 7, last: 2 ** 38 - 1 },
      { timeline: 2, first: 2 ** 38 },
    ])
  })

  it('cuts the windows of the bases before it, and of no other', () => {
    const bases = [base('b1', 0, 1, 2), base('b2', 0, 1, 5), base('b3', 0, 1, 8), base('b4', 0, 2, 9)]
    expect(basesThrough(bases, first, 6n * segmentBytes)).toEqual(['b1', 'b2'])
  })
})
