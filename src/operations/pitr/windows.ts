import { segmentAt } from '../../sources/postgres/wal-names.js'
import { iso, reachOn, waysOf } from './choose.js'
import { latestLine, partingOf } from './latest.js'
import type { ClusterLine, Reach } from './lines.js'
import type { ClusterBase, ClusterSystem, StretchEnd } from './systems.js'

/** Bases that the same gapless log leads on from, oldest first. */
export interface Stretch {
  system: ClusterSystem
  line: ClusterLine
  bases: readonly ClusterBase[]
  /** From the oldest of the bases to the end they share. */
  reach: Reach
  /** On the timeline that is followed unless another is asked for. */
  isDefault: boolean
}

/** A range in which every instant can be restored; milliseconds since 1970 UTC. */
export interface Window {
  from: string
  to: string
  timeline: number
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
 * The window of a stretch: from the oldest base to the last commit after it. Null when no transaction ended after that
 * base: then it is a point.
 */
export function windowOf({ bases, line }: Stretch, { lastTransaction }: StretchEnd): Window | null {
  const [oldest] = bases
  if (oldest === undefined || lastTransaction === null || lastTransaction.at <= oldest.capturedAt) return null
  // Rounded down: the state of an instant before the last commit is certain.
  return { from: iso(oldest.capturedAt), to: iso(lastTransaction.at), timeline: line.timeline }
}

function onLine(system: ClusterSystem, line: ClusterLine, isDefault: boolean): Stretch[] {
  const stretches = new Map<number, { system: ClusterSystem; line: ClusterLine; bases: ClusterBase[]; reach: Reach }>()
  const ways = waysOf(system, line.timeline).filter(({ base }) => base.problem === null)
  for (const way of ways.sort((a, b) => a.base.capturedAt - b.base.capturedAt)) {
    const reach = reachOn(way)
    const known = stretches.get(reach.to)
    if (known === undefined) stretches.set(reach.to, { system, line, bases: [way.base], reach })
    else known.bases.push(way.base)
  }
  return [...stretches.values()].map(stretch => ({ ...stretch, isDefault }))
}

/** Whether a stretch shows what the timeline that is followed does not. */
function isBranch({ bases, reach, system, line }: Stretch, latest: ClusterLine): boolean {
  const parting = partingOf(line, latest)
  const isBeyond = reach.to > segmentAt(parting, system.segmentBytes) && reach.to > reach.from
  return isBeyond || bases.some(base => base.stop > parting)
}
