import { NexusError } from '../../errors.js'
import { formatLsn } from '../../sources/postgres/wal-names.js'
import { type Candidate, iso, nameOf, outside } from './choose.js'
import type { StretchEnd } from './systems.js'

/** What the server is told, and what the operator is. */
export interface Resolution {
  /** Null: everything there is. */
  setting: { name: string; value: string } | null
  /** For people: `to 2025-11-03T14:30:00.000Z`. */
  until: string
  notes: string[]
}

/**
 * How the server is told an instant. After the last commit it would wait for a later one and fail (PostgreSQL 13 and
 * later, xlogrecovery.c), so the position of the last commit stands for such an instant.
 *
 * @throws NexusError `not-found` after the end of the archive, `damage` when a segment is missing before it
 */
export function resolveTime(candidate: Candidate, end: StretchEnd, at: number): Resolution {
  const { base } = candidate
  const until = `to ${iso(at)}`
  const last = end.lastTransaction
  if (last !== null && last.at > at) {
    return { setting: { name: 'recovery_target_time', value: serverTime(at) }, until, notes: [] }
  }
  const closed = Math.max(end.closedAt ?? base.capturedAt, base.capturedAt)
  if (at > closed) throw beyond(candidate, iso(at), iso(last === null ? closed : Math.max(last.at, base.capturedAt)))
  const after = last !== null && last.lsn >= base.stop ? last : null
  const since =
    after === null ? `the end of ${base.id} at ${iso(base.capturedAt)}` : `the last one, at ${iso(after.at)}`
  return {
    setting: after === null ? immediately : { name: 'recovery_target_lsn', value: formatLsn(after.lsn) },
    until,
    notes: [`no transaction ended between ${since}, and ${iso(at)}: this is the state of both`],
  }
}

/**
 * How the server is told a position.
 * @param lastRecord position of the last record within reach; null when nothing is archived after the base
 * @throws NexusError as for an instant
 */
export function resolvePosition(candidate: Candidate, lastRecord: bigint | null, position: bigint): Resolution {
  const until = `to ${formatLsn(position)}`
  if (position === candidate.base.stop) return { setting: immediately, until, notes: [] }
  if (lastRecord === null || position > lastRecord) {
    throw beyond(candidate, formatLsn(position), formatLsn(lastRecord ?? candidate.base.stop))
  }
  return { setting: { name: 'recovery_target_lsn', value: formatLsn(position) }, until, notes: [] }
}

/** The end of the gapless archive; what lies behind a gap is said. */
export function resolveEnd({ system, line, reach }: Candidate): Resolution {
  const gap = reach.missing
  const notes =
    gap === null
      ? []
      : [`segment ${nameOf(system, gap)} is missing: what was archived after it cannot be reached from here`]
  return { setting: null, until: `to the end of the archive on timeline ${line.timeline}`, notes }
}

/** Recovery that ends as soon as the base is consistent. */
export const immediately = { name: 'recovery_target', value: 'immediate' } as const

/** A target that recovery would not come to. */
function beyond({ system, reach }: Candidate, asked: string, last: string): NexusError {
  if (reach.missing === null) {
    return outside('target_too_late', system, `${asked} is after the last that can be restored, ${last}`)
  }
  const name = nameOf(system, reach.missing)
  return new NexusError(
    'damage',
    'wal_missing',
    `${system.source}: segment ${name} is missing between the backup and ${asked}; the last that can be restored before it is ${last}`,
    { hint: `if the server still has it, archive it from there: nexus-backup pitr archive pg_wal/${name}` },
  )
}

/** As the server reads it whatever its time zone: milliseconds are what the operator can write. */
function serverTime(at: number): string {
  return new Date(at).toISOString().replace('T', ' ').replace('Z', '+00')
}
