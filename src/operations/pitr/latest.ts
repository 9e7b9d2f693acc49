import { leadsTo } from '../../policy/wal-window.js'
import { segmentAt } from '../../sources/postgres/wal-names.js'
import type { ClusterLine } from './lines.js'
import type { ClusterSystem } from './systems.js'

type Written = Pick<ClusterSystem, 'lines' | 'lastWritten'>

/**
 * The line that was written last: numbers tell only which timeline began last, and one that began with a restore may have
 * been left since for the older one (`restore --rollback`, a test copy that archived). A timeline with nothing of its own
 * but a history file never wins.
 */
export function latestLine({ lines, lastWritten }: Written): ClusterLine | undefined {
  const instant = ({ timeline }: ClusterLine) => lastWritten.get(timeline) ?? -Infinity
  // Of two at the same instant the one that began last.
  return [...lines.values()].sort((a, b) => instant(a) - instant(b) || a.timeline - b.timeline).at(-1)
}

/** The timelines that hold what a line does not, ascending: bases or segments after the position where they part. */
function linesBeside(system: ClusterSystem, line: ClusterLine): number[] {
  const others = [...system.lines.values()].filter(other => other !== line)
  return others.filter(other => holdsMore(system, other, line)).map(({ timeline }) => timeline)
}

/** What the operator should know of a line that was chosen for him: nothing when there is no other. */
export function followedLine(system: ClusterSystem, line: ClusterLine): string[] {
  const others = linesBeside(system, line)
  if (others.length === 0) return []
  const names = `${others.length === 1 ? 'timeline' : 'timelines'} ${others.join(', ')}`
  const example = others.at(-1)
  return [
    `timeline ${line.timeline} is followed, the one written last; ${names} went another way: --timeline ${example} follows ${others.length === 1 ? 'it' : 'that one'}`,
  ]
}

/** The position up to which two lines are the same. */
export function partingOf(one: ClusterLine, other: ClusterLine): bigint {
  const [a, b] = [one, other].map(({ ancestors, timeline }) => [...ancestors, { timeline, until: -1n }])
  let parting = 0n
  for (const [at, step] of (a ?? []).entries()) {
    const beside = b?.[at]
    if (beside?.timeline !== step.timeline) return parting
    const ends = [step.until, beside.until].filter(until => until >= 0n)
    parting = ends.reduce((least, until) => (until < least ? until : least), ends[0] ?? parting)
    if (step.until !== beside.until) return parting
  }
  return parting
}

function holdsMore({ bases, archived, segmentBytes }: ClusterSystem, other: ClusterLine, line: ClusterLine): boolean {
  const parting = partingOf(other, line)
  // The timeline's own segments only: what its ancestors hold after they were left is theirs.
  const spans = archived.get(other.timeline) ?? []
  if (spans.some(({ to }) => to > segmentAt(parting, segmentBytes))) return true
  return bases.some(base => base.timeline === other.timeline && base.stop > parting && !leadsTo(base, line))
}
