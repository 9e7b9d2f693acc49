import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { linesOf, reachOf, type SegmentSpan, timelineOfSegment } from '../../../src/operations/pitr/lines.js'
import { leadsTo } from '../../../src/policy/wal-window.js'
import { segmentName } from '../../../src/sources/postgres/wal-names.js'
import { contiguousRanges } from '../../../src/sources/postgres/wal-ranges.js'
import { reached, type Segment, segmentBytes, someWalHistory } from '../../policy/wal-histories.js'

const size = Number(segmentBytes)

function spansOf(segments: readonly Segment[]): Map<number, SegmentSpan[]> {
  const spans = new Map<number, SegmentSpan[]>()
  const names = segments.map(({ timeline, number }) => segmentName(timeline, number, size))
  for (const { timeline, first, last } of contiguousRanges(names, size)) {
    spans.set(timeline, [...(spans.get(timeline) ?? []), { from: first, to: last + 1 }])
  }
  return spans
}

describe('the reach of a base', () => {
  it('is what the server reads segment by segment, and names the first one that is missing', () => {
    fc.assert(
      fc.property(someWalHistory(false), ({ bases, timelines, segments }) => {
        const archived = spansOf(segments)
        for (const target of timelines) {
          const line = { timeline: target.timeline, ancestors: target.ancestors }
          for (const base of bases.filter(one => leadsTo(one, line))) {
            const stopSegment = Number(base.stop / segmentBytes)
            const reach = reachOf({ stopSegment, standby: false, timeline: base.timeline }, line, archived, size)
            // The model begins in the base itself; what the base carries need not be in the archive.
            const model = reached({ ...base, start: BigInt(reach.from) * segmentBytes }, target, segments)
            expect(reach.to).toBe(reach.from + model.length)
            const later = segments.some(({ timeline, number }) => {
              return number > reach.to && timelineOfSegment(line, number, size) === timeline
            })
            expect(reach.missing === null).toBe(!later)
            if (reach.missing !== null) expect(reach.missing.segment).toBe(reach.to)
          }
        }
      }),
    )
  })
})

describe('the reach of a base whose line goes on elsewhere', () => {
  const line = { timeline: 2, ancestors: [{ timeline: 1, until: segmentBytes * 5n + 100n }] }
  const base = { stopSegment: 5, standby: false, timeline: 1 }

  it('begins with the segment of the fork, which the base holds only up to there', () => {
    const archived = new Map([[1, [{ from: 1, to: 6 }]]])
    expect(reachOf(base, line, archived, size)).toEqual({ from: 5, to: 5, missing: null })
    const both = new Map([...archived, [2, [{ from: 5, to: 8 }]] as const])
    expect(reachOf(base, line, both, size)).toEqual({ from: 5, to: 8, missing: null })
  })

  it('does not take the old timeline past the fork for the way', () => {
    const archived = new Map([
      [1, [{ from: 1, to: 20 }]],
      [2, [{ from: 7, to: 9 }]],
    ])
    expect(reachOf({ ...base, stopSegment: 3 }, line, archived, size)).toEqual({
      from: 4,
      to: 5,
      missing: { timeline: 2, segment: 5 },
    })
  })
})

describe('the reach of a base from a standby', () => {
  it('begins with its last segment, for a standby cannot switch to the next', () => {
    const line = { timeline: 1, ancestors: [] }
    const archived = new Map([[1, [{ from: 4, to: 6 }]]])
    const base = { stopSegment: 3, timeline: 1 }
    expect(reachOf({ ...base, standby: false }, line, archived, size)).toEqual({ from: 4, to: 6, missing: null })
    expect(reachOf({ ...base, standby: true }, line, archived, size)).toEqual({
      from: 3,
      to: 3,
      missing: { timeline: 1, segment: 3 },
    })
  })
})

describe('the lines of a system', () => {
  it('are one for each timeline that is known, with the ancestors that history files tell', () => {
    const ancestors = [{ timeline: 1, until: 5n }]
    const lines = linesOf([1, 2, 1], new Map([[3, ancestors]]))
    expect([...lines.values()]).toEqual([
      { timeline: 1, ancestors: [] },
      { timeline: 2, ancestors: [] },
      { timeline: 3, ancestors },
    ])
  })
})
