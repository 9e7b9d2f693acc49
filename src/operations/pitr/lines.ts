import type { Ancestor } from '../../sources/postgres/timeline-history.js'
import { segmentAt } from '../../sources/postgres/wal-names.js'

/** The way recovery takes to a timeline: its ancestors, oldest first, then itself. */
export interface ClusterLine {
  timeline: number
  ancestors: readonly Ancestor[]
}

/** Segment numbers, the second one excluded. A number is position / segment size, the same on every timeline. */
export interface SegmentSpan {
  from: number
  to: number
}

/** Consecutive segments that are archived, by timeline. */
export type ArchivedSpans = ReadonlyMap<number, readonly SegmentSpan[]>

/** The segments of one system that recovery can read from a base on, without a gap. */
export interface Reach {
  /** The first segment that is not in the base itself. */
  from: number
  /** The first one that is not there; `from` when nothing is archived after the base. */
  to: number
  /** The one that is missing although later ones of the line are there; null when `to` is the end of the archive. */
  missing: { timeline: number; segment: number } | null
}

/** The lines of a system: one for each timeline, those of `histories` with the ancestors that they tell. */
export function linesOf(
  timelines: Iterable<number>,
  histories: ReadonlyMap<number, readonly Ancestor[]>,
): Map<number, ClusterLine> {
  const all = new Set([...timelines, ...histories.keys()])
  return new Map(
    [...all].sort((a, b) => a - b).map(timeline => [timeline, { timeline, ancestors: histories.get(timeline) ?? [] }]),
  )
}

/**
 * The timeline whose segment recovery reads: the newest of the line that has begun in it. The segment in which a timeline
 * was left is read from the new one, which begins with a copy of it (PostgreSQL xlog.c, XLogFileReadAnyTLI).
 */
export function timelineOfSegment(line: ClusterLine, segment: number, segmentBytes: number): number {
  const left = line.ancestors.find(({ until }) => segment < segmentAt(until, segmentBytes))
  return left?.timeline ?? line.timeline
}

/**
 * How far the archive leads from a base along a line. A base carries the WAL up to its stop itself (`-X fetch`); the last
 * segment of one taken from a standby may be only begun, for a standby cannot switch to the next, and one in which the
 * line left the base's timeline is another's.
 */
export function reachOf(
  base: { stopSegment: number; standby: boolean; timeline: number },
  line: ClusterLine,
  archived: ArchivedSpans,
  segmentBytes: number,
): Reach {
  const isWhole = !base.standby && timelineOfSegment(line, base.stopSegment, segmentBytes) === base.timeline
  const from = isWhole ? base.stopSegment + 1 : base.stopSegment
  let at = from
  for (;;) {
    const timeline = timelineOfSegment(line, at, segmentBytes)
    const span = archived.get(timeline)?.find(candidate => candidate.from <= at && at < candidate.to)
    if (span === undefined) break
    at = Math.min(span.to, endOfTimeline(line, timeline, segmentBytes))
  }
  const isEnd = lastOn(line, archived, segmentBytes) < at
  return { from, to: at, missing: isEnd ? null : { timeline: timelineOfSegment(line, at, segmentBytes), segment: at } }
}

/** The first segment that is no longer read from a timeline of the line. */
function endOfTimeline(line: ClusterLine, timeline: number, segmentBytes: number): number {
  const left = line.ancestors.find(ancestor => ancestor.timeline === timeline)
  return left === undefined ? Number.MAX_SAFE_INTEGER : segmentAt(left.until, segmentBytes)
}

/** The last segment that is archived on the line; -1 for none. */
function lastOn(line: ClusterLine, archived: ArchivedSpans, segmentBytes: number): number {
  let begin = 0
  let last = -1
  for (const timeline of [...line.ancestors.map(ancestor => ancestor.timeline), line.timeline]) {
    const end = endOfTimeline(line, timeline, segmentBytes)
    for (const span of archived.get(timeline) ?? []) {
      if (span.to > begin && span.from < end) last = Math.max(last, Math.min(span.to, end) - 1)
    }
    begin = end
  }
  return last
}
