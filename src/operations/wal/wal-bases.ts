import * as v from 'valibot'
import type { WalBase } from '../../policy/wal-window.js'
import type { Manifest } from '../../repository/manifest.js'
import { isSegmentSize, parseLsn, segmentAt, segmentStart } from '../../sources/postgres/wal-names.js'
import type { Survey } from '../survey.js'

const position = v.pipe(v.string(), v.transform(parseLsn), v.bigint())

/** Of a cluster's facts, what says where its WAL lies. */
const factsSchema = v.object({
  system_identifier: v.string(),
  timeline: v.pipe(v.number(), v.integer(), v.minValue(1)),
  start_lsn: position,
  stop_lsn: position,
  start_segment: v.string(),
  standby: v.optional(v.boolean(), false),
  wal_segment_bytes: v.pipe(v.number(), v.check(isSegmentSize)),
})

/** A base backup and the system that it is of. */
export interface SystemBase extends WalBase {
  system: string
  startSegment: string
  segmentBytes: number
}

/** The bases of one source. */
export interface BasesFound {
  bases: SystemBase[]
  /** Damaged backups that do not say which WAL they need; captured at in milliseconds since 1970 UTC. */
  lost: { id: string; at: number }[]
}

/** Which WAL the backups of a cluster begin with. */
export function basesOf({ manifests, damaged, broken, unsound }: Survey): BasesFound {
  const bases: SystemBase[] = []
  const lost: BasesFound['lost'] = []
  const readable = new Set<string>()
  for (const manifest of manifests) {
    readable.add(manifest.id)
    const base = baseOf(manifest, !broken.has(manifest.id) && !unsound.has(manifest.id))
    if (base !== undefined) bases.push(base)
    else if (manifest.kind === 'postgres') lost.push({ id: manifest.id, at: Date.parse(manifest.captured_at) })
  }
  for (const id of damaged) if (!readable.has(id)) lost.push({ id, at: instantOfId(id) })
  return { bases, lost }
}

/** Where the log of a backup begins; undefined for one that does not say, or is of no cluster. */
export function baseOf({ id, sequence, kind, captured_at, facts }: Manifest, isSound: boolean): SystemBase | undefined {
  const known = kind === 'postgres' ? v.safeParse(factsSchema, facts) : undefined
  if (known?.success !== true) return undefined
  const { system_identifier, timeline, start_lsn, stop_lsn, start_segment, wal_segment_bytes, standby } = known.output
  // At a boundary nothing of the next segment is needed (XLByteToPrevSeg). A standby cannot switch to a new one: the last
  // segment in its backup may be only begun.
  const lastHeld = segmentAt(stop_lsn - 1n, wal_segment_bytes)
  return {
    id,
    sequence,
    at: Date.parse(captured_at),
    timeline,
    start: segmentStart(segmentAt(start_lsn, wal_segment_bytes), wal_segment_bytes),
    stop: stop_lsn,
    held: segmentStart(standby ? lastHeld : lastHeld + 1, wal_segment_bytes),
    isSound,
    system: system_identifier,
    startSegment: start_segment,
    segmentBytes: wal_segment_bytes,
  }
}

/** An id begins with the instant of capture: `20251103T030000.123Z`. */
function instantOfId(id: string): number {
  const [, date, hours, minutes, rest] = /^(\d{8})T(\d{2})(\d{2})(\d{2}\.\d{3}Z)/.exec(id) ?? []
  return Date.parse(`${date?.replace(/^(\d{4})(\d{2})/, '$1-$2-')}T${hours}:${minutes}:${rest}`)
}
