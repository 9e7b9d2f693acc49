import { linesOf } from '../../../src/operations/pitr/lines.js'
import type { ClusterBase, ClusterSystem } from '../../../src/operations/pitr/systems.js'
import type { Ancestor } from '../../../src/sources/postgres/timeline-history.js'

export const segmentBytes = 16 * 1024 * 1024

/** Milliseconds of a minute of 3 November 2025. */
export function minute(minutes: number): number {
  return Date.UTC(2025, 10, 3) + minutes * 60_000
}

/** A position in the middle of a segment. */
export function within(segment: number): bigint {
  return BigInt(segment) * BigInt(segmentBytes) + 4096n
}

/** A base that ends in a segment at a minute of the same number. */
export function base(id: string, segment: number, wishes: Partial<ClusterBase> = {}): ClusterBase {
  return {
    id,
    capturedAt: minute(segment),
    timeline: 1,
    stop: within(segment),
    stopSegment: segment,
    standby: false,
    problem: null,
    ...wishes,
  }
}

/** A system; spans by timeline, the second number excluded; when a timeline was last written follows from both. */
export function system(
  bases: readonly ClusterBase[],
  archived: Record<number, readonly (readonly [number, number])[]>,
  histories: Record<number, Ancestor[]> = {},
  lastWritten: Record<number, number> = {},
): ClusterSystem {
  const spans = Object.entries(archived).map(([timeline, list]) => {
    return [Number(timeline), list.map(([from, to]) => ({ from, to }))] as const
  })
  const known = new Map(Object.entries(histories).map(([timeline, ancestors]) => [Number(timeline), ancestors]))
  const timelines = [...spans.map(([timeline]) => timeline), ...bases.map(({ timeline }) => timeline)]
  /** A segment is closed at the minute of its number. */
  const lastOn = (timeline: number) => {
    const own = bases.filter(one => one.timeline === timeline).map(({ capturedAt }) => capturedAt)
    const closed = (archived[timeline] ?? []).map(([, to]) => minute(to))
    return Math.max(...own, ...closed)
  }
  return {
    source: 'shop',
    identifier: '7711217822142718698',
    segmentBytes,
    bases,
    lines: linesOf(timelines, known),
    archived: new Map(spans),
    lastWritten: new Map(
      [...new Set([...timelines])].map(timeline => [timeline, lastWritten[timeline] ?? lastOn(timeline)]),
    ),
  }
}
