import type { Ancestor } from './timeline-history.js'
import { type Lsn, parseWalName, segmentAt, segmentName, segmentNumber } from './wal-names.js'

/** Segments of one timeline without a gap, by their running numbers, the last one included. */
export interface SegmentRange {
  timeline: number
  first: number
  last: number
}

/** A way through the log: from a position on one timeline forward to another, which is the same or came from it. */
export interface WalWay {
  /** Position and timeline at which recovery begins. */
  start: Lsn
  timeline: number
  targetTimeline: number
  /** Ancestors of the target timeline, from its history file; empty for timeline 1. */
  ancestors: readonly Ancestor[]
}

/** What is there, as ranges without gaps, by timeline and position. Names that are no full segments are passed over. */
export function contiguousRanges(names: Iterable<string>, segmentBytes: number): SegmentRange[] {
  const found: { timeline: number; number: number }[] = []
  for (const name of names) {
    const parsed = parseWalName(name)
    if (parsed?.kind !== 'segment') continue
    const number = segmentNumber(parsed, segmentBytes)
    if (number !== undefined) found.push({ timeline: parsed.timeline, number })
  }
  found.sort((a, b) => a.timeline - b.timeline || a.number - b.number)
  const ranges: SegmentRange[] = []
  for (const { timeline, number } of found) {
    const open = ranges.at(-1)
    if (open?.timeline === timeline && number <= open.last + 1) open.last = number
    else ranges.push({ timeline, first: number, last: number })
  }
  return ranges
}

/**
 * The segments that recovery reads on its way up to the one that holds `end`, in order. A segment in which a timeline was
 * left is read from the new one, which begins with a copy of it (PostgreSQL xlogrecovery.c, XLogFileReadAnyTLI).
 * Undefined where the way does not exist: the target timeline did not come from the first one, or left it before `start`.
 * @param end a position; `null` for no end, which gives the last range `last: Infinity`
 */
export function neededRanges(way: WalWay, end: Lsn | null, segmentBytes: number): SegmentRange[] | undefined {
  const line = [...way.ancestors, { timeline: way.targetTimeline, until: null }]
  const from = line.findIndex(({ timeline }) => timeline === way.timeline)
  const left = line[from]
  if (left === undefined || (left.until !== null && left.until < way.start)) return undefined
  const last = end === null ? Infinity : segmentAt(end, segmentBytes)
  const needed: SegmentRange[] = []
  let first = segmentAt(way.start, segmentBytes)
  for (const { timeline, until } of line.slice(from)) {
    const upTo = Math.min(last, until === null ? Infinity : segmentAt(until, segmentBytes) - 1)
    if (upTo < first) continue
    needed.push({ timeline, first, last: upTo })
    first = upTo + 1
  }
  return needed
}

/** What of the segments needed is not there, in order. */
export function missingRanges(needed: readonly SegmentRange[], present: readonly SegmentRange[]): SegmentRange[] {
  return needed.flatMap(({ timeline, first, last }) => {
    const missing: SegmentRange[] = []
    let next = first
    for (const range of present) {
      if (range.timeline !== timeline || range.last < next || range.first > last) continue
      if (range.first > next) missing.push({ timeline, first: next, last: range.first - 1 })
      next = range.last + 1
    }
    return next > last ? missing : [...missing, { timeline, first: next, last }]
  })
}

/** A range in words: one name, or the first and the last. */
export function rangeText({ timeline, first, last }: SegmentRange, segmentBytes: number): string {
  const from = segmentName(timeline, first, segmentBytes)
  if (last === first) return from
  return last === Infinity ? `${from} and all after it` : `${from} to ${segmentName(timeline, last, segmentBytes)}`
}
