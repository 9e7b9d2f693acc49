import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { parseLsn } from '../../sources/postgres/wal-names.js'
import {
  type Candidate,
  candidateForEnd,
  candidateForPosition,
  candidateForTime,
  candidatesForSearch,
  nameOf,
} from './choose.js'
import { timelineOfSegment } from './lines.js'
import type { LoadedSystem } from './load-systems.js'
import type { WalLook } from './look.js'
import type { ClusterTarget, TimelineChoice } from './requests.js'
import { type Resolution, resolveEnd, resolvePosition, resolveTime } from './resolve.js'
import type { ClusterBase } from './systems.js'

/** A base, the way on from it, and what the server is told about the target. */
export interface PlannedTarget {
  candidate: Candidate & { system: LoadedSystem }
  resolution: Resolution
}

/**
 * Chooses the base for a target and makes sure that the archive leads there.
 *
 * @param lookAt looks into the log of a base's system
 * @throws NexusError `not-found` for a target outside every window, `damage` when a segment is missing before it
 */
export async function planTarget(
  context: Context,
  systems: readonly LoadedSystem[],
  { target, timeline }: { target: Exclude<ClusterTarget, { kind: 'base' }>; timeline: TimelineChoice },
  lookAt: (system: LoadedSystem, base: ClusterBase) => WalLook,
): Promise<PlannedTarget> {
  const loaded = (candidate: Candidate) => {
    const system = systems.find(one => one === candidate.system)
    if (system === undefined) throw new Error('a candidate of another repository')
    return { ...candidate, system }
  }
  if (target.kind === 'time') {
    const candidate = loaded(candidateForTime(systems, target.at.getTime(), timeline))
    const { line, reach, system, base } = candidate
    const end = await lookAt(system, base).end(line, { first: reach.from, to: reach.to })
    return { candidate, resolution: resolveTime(candidate, end, target.at.getTime()) }
  }
  if (target.kind === 'end') {
    const candidate = loaded(candidateForEnd(systems, timeline))
    return { candidate, resolution: resolveEnd(candidate) }
  }
  if (target.kind === 'lsn') {
    const position = positionOf(target.lsn)
    const candidate = loaded(candidateForPosition(systems, position, timeline))
    const last = await lookAt(candidate.system, candidate.base).lastRecord(candidate.line, candidate.reach)
    return { candidate, resolution: resolvePosition(candidate, last, position) }
  }
  return searchFor(context, candidatesForSearch(systems, timeline).map(loaded), target, lookAt)
}

/** From the newest base back: the first one after whose end the record stands. */
async function searchFor(
  context: Context,
  candidates: readonly PlannedTarget['candidate'][],
  target: { kind: 'xid'; xid: string } | { kind: 'restore-point'; name: string },
  lookAt: (system: LoadedSystem, base: ClusterBase) => WalLook,
): Promise<PlannedTarget> {
  // The log knows the lower half of a number with an epoch, as txid_current() gives it.
  const xid = target.kind === 'xid' ? BigInt(target.xid) & 0xffff_ffffn : 0n
  const wanted = target.kind === 'xid' ? { xid: Number(xid) } : { restorePoint: target.name }
  const name = target.kind === 'xid' ? `transaction ${target.xid}` : `restore point '${target.name}'`
  const value = target.kind === 'xid' ? xid.toString() : target.name
  let gap: { candidate: PlannedTarget['candidate']; missing: { timeline: number; segment: number } } | undefined
  let next = Number.POSITIVE_INFINITY
  for (const candidate of candidates) {
    context.signal.throwIfAborted()
    const { base, line, reach, system } = candidate
    const first = isArchived(candidate, base.stopSegment) ? base.stopSegment : reach.from
    const to = Math.min(reach.to, next)
    const found = await lookAt(system, base).find(line, { first, to }, { ...wanted, notBefore: base.stop })
    if (found !== null) {
      const setting = { name: target.kind === 'xid' ? 'recovery_target_xid' : 'recovery_target_name', value }
      return { candidate, resolution: { setting, until: `to ${name}`, notes: [] } }
    }
    if (reach.missing !== null && reach.to < next) gap ??= { candidate, missing: reach.missing }
    next = base.stopSegment + 1
  }
  const source = candidates[0]?.system.source ?? ''
  if (gap === undefined) {
    throw new NexusError('not-found', 'target_not_found', `${source}: ${name} is not in the archive after any backup`, {
      hint: `the windows there are: nexus-backup pitr points ${source}`,
    })
  }
  const missing = nameOf(gap.candidate.system, gap.missing)
  const message = `${source}: ${name} was not found, and segment ${missing} is missing: it may have been in there or after it`
  throw new NexusError('damage', 'wal_missing', message, {
    hint: `if the server still has it, archive it from there: nexus-backup pitr archive pg_wal/${missing}`,
  })
}

function isArchived({ system, line }: PlannedTarget['candidate'], segment: number): boolean {
  const spans = system.archived.get(timelineOfSegment(line, segment, system.segmentBytes)) ?? []
  return spans.some(({ from, to }) => from <= segment && segment < to)
}

function positionOf(text: string): bigint {
  const position = parseLsn(text)
  if (position !== undefined) return position
  throw new NexusError('usage', 'invalid_lsn', `'${text}' is not a position in the log`, {
    hint: 'write it as PostgreSQL does, such as 0/2000028',
  })
}
