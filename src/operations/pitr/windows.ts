import { isoMicros, isoShort, type Micros, microsOf } from '../../model/micros.js'
import { type ClockRun, type ClockStep, clockSteps, runsOf } from '../../policy/recovery/segment-facts.js'
import { formatLsn, segmentAt, segmentStart } from '../../sources/postgres/wal-names.js'
import { isOnlyWay, reachOn, waysOf } from './choose.js'
import { latestLine, partingOf } from './latest.js'
import type { ClusterLine, Reach } from './lines.js'
import type { ClusterBase, ClusterSystem } from './systems.js'
import type { ScannedSegment } from './wal-scan.js'

/** Bases that the same gapless log leads on from, oldest first. */
export interface Stretch {
  system: ClusterSystem
  line: ClusterLine
  bases: readonly ClusterBase[]
  /** From the oldest of the bases to the end they share. */
  reach: Reach
  /** On the timeline that is followed unless another is asked for. */
  isDefault: boolean
  /** Its bases were made of a damaged cluster, and no sound one leads to the same instants. */
  isMarked: boolean
}

/** A range in which every instant can be restored. */
export interface Window {
  from: string
  to: string
  timeline: number
}

/** Where a window ends although the WAL goes on. */
export interface WindowBreak {
  reason: 'clock_set_back' | 'wal_level_minimal' | 'wal_damaged'
  timeline: number
  /** The first record after it. */
  lsn: string
  /** Of a clock that was set back: the times that came twice. */
  from?: string
  to?: string
}

/** What a stretch offers. */
export interface WindowsFound {
  windows: Window[]
  breaks: WindowBreak[]
  /** Ids of the bases that lie in one of the windows. */
  covered: string[]
}

/**
 * The stretches of a system: on the timeline written last, and of the others what is not part of that one. Bases from which the
 * log leads to the same end are one stretch: their windows touch.
 */
export function stretchesOf(system: ClusterSystem): Stretch[] {
  const latest = latestLine(system)
  if (latest === undefined) return []
  const others = [...system.lines.values()].filter(line => line !== latest)
  const own = (line: ClusterLine) => (stretch: Stretch) => isBranch(stretch, line)
  return [...onLine(system, latest, true), ...others.flatMap(line => onLine(system, line, false).filter(own(latest)))]
}

/**
 * The windows of a stretch: each from a base to the last commit after it. One ends where no recovery goes on
 * (`wal_level=minimal`, a damaged segment) and the next begins with a later base; times that came twice are in none. A base
 * after which nothing was committed has no window: it is a point.
 *
 * @param segments what the WAL of the stretch says, in order
 */
export function windowsOf({ bases, line, system }: Stretch, segments: readonly ScannedSegment[]): WindowsFound {
  const found: WindowsFound = { windows: [], breaks: [], covered: [] }
  const { timeline } = line
  const ends = endsIn(system, segments)
  const shown = new Set<bigint>()
  let after = -1n
  for (const end of [...ends, null]) {
    const own = bases.filter(({ stop }) => stop > after && (end === null || stop <= end.lsn))
    const [oldest] = [...own].sort((a, b) => a.capturedAt - b.capturedAt)
    const begin = after
    after = end?.lsn ?? after
    if (end !== null && bases.some(({ stop }) => stop <= end.lsn)) {
      found.breaks.push({ reason: end.reason, timeline, lsn: formatLsn(end.lsn) })
    }
    if (oldest === undefined) continue
    const least = own.reduce((lsn, { stopSegment }) => Math.min(lsn, stopSegment), Number.POSITIVE_INFINITY)
    const facts = segments.flatMap(({ segment, facts }) => (facts !== null && segment >= least ? [facts] : []))
    const runs = runsOf(facts, end?.lsn ?? null).filter(({ lsn }) => lsn > begin)
    const steps = clockSteps(runs)
    for (const { lsn, from, to } of steps) {
      if (shown.has(lsn)) continue
      shown.add(lsn)
      const twice = { from: isoMicros(from), to: isoMicros(to) }
      found.breaks.push({ reason: 'clock_set_back', timeline, lsn: formatLsn(lsn), ...twice })
    }
    const windows = without(steps, { from: microsOf(oldest.capturedAt), to: latestOf(runs) })
    // The state of an instant before the last commit is certain.
    for (const { from, to } of windows) found.windows.push({ from: isoShort(from), to: isoMicros(to), timeline })
    const isCovered = ({ capturedAt }: ClusterBase) =>
      windows.some(({ from, to }) => from <= microsOf(capturedAt) && microsOf(capturedAt) <= to)
    found.covered.push(...own.filter(isCovered).map(({ id }) => id))
  }
  return found
}

interface Range {
  from: Micros
  to: Micros
}

/** A range without the times that came twice. */
function without(steps: readonly ClockStep[], { from, to }: { from: Micros; to: Micros | null }): Range[] {
  if (to === null) return []
  const ranges: Range[] = []
  let next = from
  for (const step of [...steps].sort((a, b) => (a.from < b.from ? -1 : 1))) {
    if (step.from > next) ranges.push({ from: next, to: step.from - 1n })
    if (step.to + 1n > next) next = step.to + 1n
  }
  return [...ranges, { from: next, to }].filter(range => range.from < range.to)
}

function latestOf(runs: readonly ClockRun[]): Micros | null {
  return runs.reduce<Micros | null>((last, { latest }) => (last === null || latest > last ? latest : last), null)
}

interface End {
  lsn: bigint
  reason: WindowBreak['reason']
}

/** Positions that no recovery goes past, in order. */
function endsIn({ segmentBytes }: ClusterSystem, segments: readonly ScannedSegment[]): End[] {
  return segments.flatMap(({ segment, facts }): End[] => {
    if (facts === null) return [{ lsn: segmentStart(segment, segmentBytes), reason: 'wal_damaged' }]
    return facts.minimal.map(lsn => ({ lsn, reason: 'wal_level_minimal' }))
  })
}

function onLine(system: ClusterSystem, line: ClusterLine, isDefault: boolean): Stretch[] {
  const ways = waysOf(system, line.timeline).sort((a, b) => a.base.capturedAt - b.base.capturedAt)
  const sound = ways.filter(({ base }) => base.problem === null)
  const marked = ways.filter(way => isOnlyWay(way, ways))
  return [
    ...grouped(sound).map(stretch => ({ ...stretch, isDefault, isMarked: false })),
    ...grouped(marked).map(stretch => ({ ...stretch, isDefault, isMarked: true })),
  ]
}

/** Bases from which the log leads to the same end, together. */
function grouped(ways: ReturnType<typeof waysOf>): Omit<Stretch, 'isDefault' | 'isMarked'>[] {
  const stretches = new Map<number, { system: ClusterSystem; line: ClusterLine; bases: ClusterBase[]; reach: Reach }>()
  for (const way of ways) {
    const reach = reachOn(way)
    const { system, line, base } = way
    const known = stretches.get(reach.to)
    if (known === undefined) stretches.set(reach.to, { system, line, bases: [base], reach })
    else known.bases.push(base)
  }
  return [...stretches.values()]
}

/** Whether a stretch shows what the timeline that is followed does not. */
function isBranch({ bases, reach, system, line }: Stretch, latest: ClusterLine): boolean {
  const parting = partingOf(line, latest)
  const isBeyond = reach.to > segmentAt(parting, system.segmentBytes) && reach.to > reach.from
  return isBeyond || bases.some(base => base.stop > parting)
}
