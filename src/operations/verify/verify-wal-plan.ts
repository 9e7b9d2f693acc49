import { leadsTo, type WalBase, type WalTimeline } from '../../policy/wal-window.js'
import { segmentStart } from '../../sources/postgres/wal-names.js'
import { missingRanges, neededRanges, type SegmentRange } from '../../sources/postgres/wal-ranges.js'

/** Segments of one timeline that are not there though bases need them. */
export interface WalGap extends SegmentRange {
  /** Ids of the bases whose way forward ends at it: what lies in a base itself is not missed there. */
  affects: string[]
}

type Line = Omit<WalTimeline, 'lastArchived'>

/**
 * What is missing of a system's WAL: of the segments that recovery reads from the start of any of these bases on, up to
 * the newest one that is archived of each timeline it leads to.
 * @param bases those from which one must be able to roll forward
 * @param present what is archived (`contiguousRanges`)
 * @param segmentBytes size of a segment
 */
export function missingWal(
  bases: readonly WalBase[],
  lines: readonly Line[],
  present: readonly SegmentRange[],
  segmentBytes: number,
): WalGap[] {
  const gaps: WalGap[] = []
  for (const line of lines) {
    const newest = present.findLast(({ timeline }) => timeline === line.timeline)
    if (newest === undefined) continue
    const end = segmentStart(newest.last, segmentBytes)
    for (const base of bases) {
      if (!leadsTo(base, line)) continue
      const { ancestors, timeline: targetTimeline } = line
      const way = { start: base.start, timeline: base.timeline, targetTimeline, ancestors }
      const missing = missingRanges(neededRanges(way, end, segmentBytes) ?? [], present)
      for (const range of missing) {
        const isHeld = segmentStart(range.last, segmentBytes) < base.held
        gaps.push({ ...range, affects: isHeld ? [] : [base.id] })
      }
    }
  }
  return merged(gaps)
}

/**
 * The bases that recovery reads the segment of a timeline for that ends at a position, by id. One that they hold themselves
 * is among them: the server asks the archive first.
 */
export function basesThrough(bases: readonly WalBase[], line: Line, to: bigint): string[] {
  return bases.filter(base => leadsTo(base, line) && base.start < to).map(({ id }) => id)
}

/** A base that begins inside a gap sees a part of it: one range, named once. */
function merged(gaps: readonly WalGap[]): WalGap[] {
  const result: WalGap[] = []
  for (const gap of [...gaps].sort((a, b) => a.timeline - b.timeline || a.first - b.first)) {
    const open = result.at(-1)
    if (open?.timeline !== gap.timeline || gap.first > open.last + 1) {
      result.push({ ...gap })
      continue
    }
    open.last = Math.max(open.last, gap.last)
    open.affects = [...new Set([...open.affects, ...gap.affects])]
  }
  return result
}
