import type { WrittenTime } from '../../config/instant.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { isoShort } from '../../model/micros.js'
import { mayEnd, type SegmentFacts } from '../../policy/recovery/segment-facts.js'
import { formatLsn, parseLsn, segmentAt } from '../../sources/postgres/wal-names.js'
import {
  type Candidate,
  candidateForEnd,
  candidateForPosition,
  candidateForTime,
  candidatesForSearch,
  nameOf,
} from './choose.js'
import { LineWal } from './line-wal.js'
import { type ClusterLine, timelineOfSegment } from './lines.js'
import type { LoadedSystem } from './load-systems.js'
import { locateRestorePoint, locateTransaction, type Place, type Searched, searchedBy } from './locate.js'
import type { ClusterTarget, TimelineChoice } from './requests.js'
import { assertPassable, type Resolution, resolveBefore, resolveEnd, resolvePosition, resolveTime } from './resolve.js'
import type { ClusterBase } from './systems.js'
import type { WalScan } from './wal-scan.js'

/** A base, the way on from it, and what the server is told about the target. */
export interface PlannedTarget {
  candidate: Candidate & { system: LoadedSystem }
  resolution: Resolution
}

type ScanOf = (system: LoadedSystem, base: ClusterBase) => Promise<WalScan>

/**
 * Chooses the base for a target and makes sure that the archive leads there.
 *
 * @param scanOf reads the WAL of a base's system
 * @throws NexusError `not-found` for a target outside every window, `damage` when a segment before it is missing or damaged
 */
export async function planTarget(
  context: Context,
  systems: readonly LoadedSystem[],
  { target, timeline }: { target: Exclude<ClusterTarget, { kind: 'base' }>; timeline: TimelineChoice },
  scanOf: ScanOf,
): Promise<PlannedTarget> {
  const loaded = (candidate: Candidate) => {
    const system = systems.find(one => one === candidate.system)
    if (system === undefined) throw new Error('a candidate of another repository')
    return { ...candidate, system }
  }
  const walOf = async (candidate: PlannedTarget['candidate'], to?: number) =>
    new LineWal(await scanOf(candidate.system, candidate.base), candidate, to)
  if (target.kind === 'time') {
    const limit = target.before ? target.at.first - 1n : target.at.last
    const candidate = loaded(candidateForTime(systems, limit, timeline))
    const wal = await walOf(candidate)
    return { candidate, resolution: await (target.before ? beforeTime : atTime)(candidate, wal, target.at) }
  }
  if (target.kind === 'end') {
    const candidate = loaded(candidateForEnd(systems, timeline))
    const wal = await walOf(candidate)
    await wal.readAll()
    return { candidate, resolution: await resolveEnd(candidate, wal) }
  }
  if (target.kind === 'lsn') {
    const position = positionOf(target.lsn)
    const candidate = loaded(candidateForPosition(systems, position, timeline))
    const wal = await walOf(candidate, segmentAt(position, candidate.system.segmentBytes) + 1)
    await wal.readAll()
    return { candidate, resolution: await resolvePosition(candidate, wal, position) }
  }
  const candidates = candidatesForSearch(systems, timeline).map(loaded)
  return searchFor(context, candidates, target, { walOf, scanOf })
}

async function atTime(candidate: Candidate, wal: LineWal, at: WrittenTime): Promise<Resolution> {
  const isPassed = await wal.readBeyond(at.last)
  return resolveTime(candidate, wal, { at, isPassed })
}

/** Up to the commit before the first one of a time or later, and before that one removes files. */
async function beforeTime(candidate: Candidate, wal: LineWal, at: WrittenTime): Promise<Resolution> {
  const isPassed = await wal.readBeyond(at.first)
  const next = await wal.firstNotBefore(at.first)
  const earlier = await resolveTime(candidate, wal, { at: { first: at.first, last: at.first - 1n }, isPassed })
  if (next === null) return earlier
  const position = beginOf(wal, next)
  return resolveBefore(candidate, wal, { next, position, name: isoShort(at.first) })
}

/** Where the first of a transaction lies that stays also when it does not commit. */
function beginOf(wal: LineWal, { xid, lsn }: { xid: number; lsn: bigint }): bigint {
  return wal.removalsBefore(lsn).find(removal => removal.xid === xid)?.lsn ?? lsn
}

type ByName = Extract<ClusterTarget, { kind: 'xid' | 'restore-point' }>
type Loaded = PlannedTarget['candidate']

/** Finds where the record stands, and the newest base before it. */
async function searchFor(
  context: Context,
  candidates: readonly Loaded[],
  target: ByName,
  { walOf, scanOf }: { walOf: (candidate: Loaded) => Promise<LineWal>; scanOf: ScanOf },
): Promise<PlannedTarget> {
  const name = target.kind === 'xid' ? `transaction ${target.xid}` : `restore point '${target.name}'`
  const lines = await searchedBy(candidates, ({ system, base }) => scanOf(system, base))
  for await (const place of placesOf(context, lines, { target, candidates })) {
    const candidate = candidates.find(one => leadsOnTo(one, place))
    if (candidate === undefined) continue
    const wal = await walOf(candidate)
    const resolution =
      target.kind === 'xid'
        ? await transactionIn(candidate, wal, target)
        : await restorePointIn(candidate, wal, target.name)
    if (resolution !== null) return { candidate, resolution }
  }
  throw notFound(candidates, name)
}

async function* placesOf(
  context: Context,
  lines: readonly Searched[],
  { target, candidates }: { target: ByName; candidates: readonly Loaded[] },
): AsyncGenerator<Place, void, void> {
  const oldest = candidates.at(-1)
  if (oldest === undefined) return
  if (target.kind === 'restore-point') {
    const { base, system } = oldest
    const asked = { name: target.name, since: base.stop, source: system.source }
    const place = await locateRestorePoint(context, lines, asked)
    if (place !== null) yield place
    return
  }
  for (const line of lines) {
    const place = await locateTransaction(line, numberOf(target.xid))
    if (place !== null) yield place
  }
}

/** Candidates come newest first. Lines share what was written before they parted. */
function leadsOnTo({ base, line, reach, system }: Loaded, place: Place): boolean {
  const segment = segmentAt(place.lsn, system.segmentBytes)
  const timelineOn = (one: ClusterLine) => timelineOfSegment(one, segment, system.segmentBytes)
  return base.stop <= place.lsn && segment < reach.to && timelineOn(line) === timelineOn(place.line)
}

/** @returns damage where it may lie in a segment that is missing */
function notFound(candidates: readonly Loaded[], name: string): NexusError {
  const source = candidates[0]?.system.source ?? ''
  const gap = candidates.find(({ reach }) => reach.missing !== null)
  if (gap?.reach.missing == null) {
    return new NexusError(
      'not-found',
      'target_not_found',
      `${source}: ${name} is not in the archive after any backup`,
      {
        hint: `the windows there are: nexus-backup pitr points ${source}`,
      },
    )
  }
  const missing = nameOf(gap.system, gap.reach.missing)
  const message = `${source}: ${name} was not found, and segment ${missing} is missing: it may have been in there or after it`
  return new NexusError('damage', 'wal_missing', message, {
    hint: `if the server still has it, archive it from there: nexus-backup pitr archive pg_wal/${missing}`,
  })
}

/** The WAL knows the lower half of a number with an epoch, as txid_current() gives it. */
function numberOf(xid: string): number {
  return Number(BigInt(xid) & 0xffff_ffffn)
}

/** Null when the transaction does not end in this WAL. */
async function transactionIn(
  candidate: Candidate,
  wal: LineWal,
  { xid: asked, before }: Extract<ClusterTarget, { kind: 'xid' }>,
): Promise<Resolution | null> {
  const xid = numberOf(asked)
  const name = `transaction ${asked}`
  if (!(await wal.readUntil(async facts => mayEnd(facts, xid) && (await wal.endOf(xid)) !== null))) return null
  const end = await wal.endOf(xid)
  if (end === null) return null
  const own = end.kind === 'commit' ? { xid: end.xid, lsn: end.lsn, at: end.at } : null
  if (before) return resolveBefore(candidate, wal, { next: own, position: beginOf(wal, end), name })
  await assertPassable(candidate, wal, end.lsn, name)
  const setting =
    end.xid === xid
      ? { name: 'recovery_target_xid', value: String(xid) }
      : { name: 'recovery_target_lsn', value: formatLsn(end.lsn) }
  const last = own ?? (await wal.lastBefore(end.lsn)).last
  const next = await wal.nextAfter(end.lsn)
  return { setting, until: `to ${name}`, notes: [], last, next }
}

/** Null when the name is not in this WAL. */
async function restorePointIn(candidate: Candidate, wal: LineWal, value: string): Promise<Resolution | null> {
  const { stop } = candidate.base
  const isIt = (point: SegmentFacts['restorePoints'][number]) => point.name === value && point.lsn >= stop
  let found: SegmentFacts['restorePoints'][number] | undefined
  await wal.readUntil(({ restorePoints }) => {
    found = restorePoints.find(isIt)
    return found !== undefined
  })
  if (found === undefined) return null
  const name = `restore point '${value}'`
  await assertPassable(candidate, wal, found.lsn, name)
  const { last } = await wal.lastBefore(found.lsn)
  const next = await wal.nextAfter(found.lsn)
  return { setting: { name: 'recovery_target_name', value }, until: `to ${name}`, notes: [], last, next }
}

function positionOf(text: string): bigint {
  const position = parseLsn(text)
  if (position !== undefined) return position
  throw new NexusError('usage', 'invalid_lsn', `'${text}' is not a position in the log`, {
    hint: 'write it as PostgreSQL does, such as 0/2000028',
  })
}
