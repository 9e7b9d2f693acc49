import { NexusError } from '../../errors.js'
import { endOfMillisecond, isoShort, type Micros } from '../../model/micros.js'
import { leadsTo } from '../../policy/wal-window.js'
import { formatLsn, segmentName } from '../../sources/postgres/wal-names.js'
import { latestLine } from './latest.js'
import { type ClusterLine, type Reach, reachOf, timelineOfSegment } from './lines.js'
import type { TimelineChoice } from './requests.js'
import type { ClusterBase, ClusterSystem } from './systems.js'

/** A base and the way on from it. */
export interface Candidate {
  system: ClusterSystem
  base: ClusterBase
  line: ClusterLine
  reach: Reach
  /** Newer bases that would have served and are not used. */
  passedOver: readonly ClusterBase[]
}

/** A base with its line. */
type Way = Omit<Candidate, 'reach' | 'passedOver'>

/**
 * The newest base captured not after an instant, of whichever system: recovery stops at the first record after the target,
 * so a younger base would give a newer state than asked.
 *
 * @throws NexusError `not-found` for an instant before the first base, or one that came twice because the server's clock
 *   was set back; `damage` when only damaged bases are old enough, none is sound, or where the timeline began is lost
 */
export function candidateForTime(systems: readonly ClusterSystem[], at: Micros, choice: TimelineChoice): Candidate {
  const ways = systems.flatMap(system => waysOf(system, choice)).sort((a, b) => a.base.capturedAt - b.base.capturedAt)
  // It is noted in milliseconds, and what was committed within that one is in the base.
  const isEarly = ({ base }: Way) => endOfMillisecond(base.capturedAt) <= at
  const early = ways.filter(isEarly)
  assertBegun(early, systems, choice)
  if (early.length === 0 && ways.length > 0) {
    const { system, base } = firstSound(ways, systems)
    const message = `${isoShort(at)} is before the first instant that can be restored, ${iso(base.capturedAt)}`
    throw outside('target_too_early', system, message)
  }
  const candidate = newestSound(early, systems)
  const { system, base, line } = candidate
  const others = ways.filter(way => way.system === system && way.line === line && way.base.stop < base.stop)
  const later = others.find(way => !isEarly(way))
  if (later === undefined) return candidate
  const back = `${later.base.id} was captured at ${iso(later.base.capturedAt)}, and ${base.id} after it at ${iso(base.capturedAt)}`
  throw outside('target_twice', system, `${isoShort(at)} came twice, for the server's clock was set back: ${back}`)
}

/** The base for a position in the log: the newest that is consistent not after it, of the system backed up last. */
export function candidateForPosition(
  systems: readonly ClusterSystem[],
  position: bigint,
  choice: TimelineChoice,
): Candidate {
  const system = newestSystem(systems)
  const ways = byStop(waysOf(system, choice))
  const early = ways.filter(({ base }) => base.stop <= position)
  assertBegun(early, [system], choice)
  if (early.length === 0 && ways.length > 0) {
    const begin = formatLsn(firstSound(ways, [system]).base.stop)
    const message = `${formatLsn(position)} is before the first position that can be restored, ${begin}`
    throw outside('target_too_early', system, message)
  }
  return newestSound(early, [system])
}

/** The newest base, for the end of the archive. */
export function candidateForEnd(systems: readonly ClusterSystem[], choice: TimelineChoice): Candidate {
  const system = newestSystem(systems)
  const ways = byStop(waysOf(system, choice))
  assertBegun(ways, [system], choice)
  return newestSound(ways, [system])
}

/** Every sound base of the system backed up last, newest first, with the way on: where to look for a name or a number. */
export function candidatesForSearch(systems: readonly ClusterSystem[], choice: TimelineChoice): Candidate[] {
  const system = newestSystem(systems)
  const all = byStop(waysOf(system, choice))
  assertBegun(all, [system], choice)
  const ways = usable(all)
  if (ways.length === 0) newestSound([], [system])
  return ways.reverse().map(way => ({ ...way, reach: reachOn(way), passedOver: [] }))
}

/** Name of a segment of a system. */
export function nameOf(
  { segmentBytes }: Pick<ClusterSystem, 'segmentBytes'>,
  { timeline, segment }: { timeline: number; segment: number },
): string {
  return segmentName(timeline, segment, segmentBytes)
}

/** Names of the first and the last segment that recovery asks the archive for; null when there is none. */
export function walOf({ system, line, reach }: Candidate): { from: string; to: string; segments: number } | null {
  if (reach.to === reach.from) return null
  const name = (segment: number) =>
    nameOf(system, { segment, timeline: timelineOfSegment(line, segment, system.segmentBytes) })
  return { from: name(reach.from), to: name(reach.to - 1), segments: reach.to - reach.from }
}

export function iso(instant: number): string {
  return new Date(Math.floor(instant)).toISOString()
}

/** The bases of a system from which the chosen timeline can be reached, with their lines. */
export function waysOf(system: ClusterSystem, choice: TimelineChoice): Way[] {
  if (choice === 'current') {
    return system.bases.flatMap(base => {
      const line = system.lines.get(base.timeline)
      return line === undefined ? [] : [{ system, base, line }]
    })
  }
  const line = choice === 'latest' ? latestLine(system) : system.lines.get(choice)
  if (line === undefined) return []
  return system.bases.filter(base => leadsTo(base, line)).map(base => ({ system, base, line }))
}

export function reachOn({ system, base, line }: Way): Reach {
  return reachOf(base, line, system.archived, system.segmentBytes)
}

function newestSystem(systems: readonly ClusterSystem[]): ClusterSystem {
  const newest = (system: ClusterSystem) => Math.max(-Infinity, ...system.bases.map(({ capturedAt }) => capturedAt))
  const [best] = [...systems].sort((a, b) => newest(b) - newest(a))
  if (best === undefined) throw noBase([])
  return best
}

/**
 * A base that is missed may be on a timeline before the one asked for, whose history tells that.
 * @throws NexusError damage: why that history cannot be used
 */
function assertBegun(ways: readonly Way[], systems: readonly ClusterSystem[], choice: TimelineChoice): void {
  if (ways.length > 0 || choice === 'current') return
  for (const system of systems) {
    const timeline = choice === 'latest' ? latestLine(system)?.timeline : choice
    const lost = timeline === undefined ? undefined : system.lostHistories?.get(timeline)
    if (lost !== undefined) throw unknownBeginning(system, timeline, lost)
  }
}

/** What cannot be restored is no beginning. */
function firstSound(ways: readonly Way[], systems: readonly ClusterSystem[]): Way {
  return ways.find(({ base }) => base.problem === null) ?? newestSound(ways, systems)
}

/** The ways that may be used, in their order: from sound bases, and from marked ones where that is allowed. */
function usable(ways: readonly Way[]): Way[] {
  return ways.filter(way => way.base.problem === null || (way.system.allowsMarked === true && isOnlyWay(way, ways)))
}

/**
 * Whether a base of a damaged cluster is needed: a sound one from before it whose log goes on past it leads to the same
 * instants, and its copy has no damaged pages.
 */
export function isOnlyWay({ system, line, base }: Way, ways: readonly Way[]): boolean {
  if (base.isMarked !== true) return false
  return ways.every(way => {
    const isEarlier = way.base.problem === null && way.system === system && way.line === line
    return !isEarlier || way.base.stop > base.stop || reachOn(way).to <= base.stopSegment
  })
}

function newestSound(ways: readonly Way[], systems: readonly ClusterSystem[]): Candidate {
  const best = usable(ways).at(-1)
  if (best !== undefined) {
    const passedOver = ways.slice(ways.lastIndexOf(best) + 1).map(({ base }) => base)
    return { ...best, reach: reachOn(best), passedOver }
  }
  const damaged = ways.at(-1)?.base
  if (damaged === undefined) throw noBase(systems)
  const marked = ways.findLast(({ base }) => base.isMarked === true)
  if (marked !== undefined) throw onlyMarked(marked)
  throw new NexusError('damage', 'backup_damaged', `${damaged.id} cannot be restored: ${damaged.problem}`, {
    hint: "no older backup can stand in for it; 'nexus-backup list --all' shows what there is",
  })
}

function onlyMarked({ system, base }: Way): NexusError {
  const message = `${system.source}: no backup of a sound cluster leads there; ${base.id} does, and ${base.problem}`
  return new NexusError('refused', 'damaged_source', message, {
    hint: `what was damaged stands in its manifest: nexus-backup list ${base.id} --json; to restore it as it was, give --allow-damaged too`,
  })
}

function noBase(systems: readonly ClusterSystem[]): NexusError {
  const source = systems[0]?.source ?? 'the source'
  const timelines = [...new Set(systems.flatMap(({ lines }) => [...lines.keys()]))]
  const hint =
    timelines.length > 1
      ? `there are the timelines ${timelines.join(', ')}; choose another with --timeline N, or --timeline current`
      : `make one: nexus-backup create ${source}`
  return new NexusError('not-found', 'no_base', `no backup of ${source} leads to the timeline asked for`, { hint })
}

function unknownBeginning({ source }: ClusterSystem, timeline: number | undefined, lost: NexusError): NexusError {
  const message = `${source}: no backup is known to lead to timeline ${timeline}: the history that tells where it began cannot be used: ${lost.message}`
  return new NexusError('damage', lost.code, message, {
    cause: lost,
    hint: `to follow the timeline of each backup itself: --timeline current; what there is: nexus-backup list ${source}`,
  })
}

/** A target that no backup and its log lead to. */
export function outside(code: string, { source }: ClusterSystem, message: string): NexusError {
  return new NexusError('not-found', code, `${source}: ${message}`, {
    hint: `the windows there are: nexus-backup pitr points ${source}`,
  })
}

function byStop(ways: readonly Way[]): Way[] {
  return [...ways].sort((a, b) => (a.base.stop < b.base.stop ? -1 : a.base.stop > b.base.stop ? 1 : 0))
}
