import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { isoMicros } from '../../model/micros.js'
import { endsLater, mayEnd, type SegmentFacts } from '../../policy/recovery/segment-facts.js'
import { formatLsn } from '../../sources/postgres/wal-names.js'
import { shellQuoted } from '../shell.js'
import type { Candidate } from './choose.js'
import { type ClusterLine, timelineOfSegment } from './lines.js'
import type { WalScan } from './wal-scan.js'

/** All archived WAL of one line that its bases lead to. */
export interface Searched {
  line: ClusterLine
  scan: WalScan
  /** Numbers, in order. */
  segments: readonly number[]
}

/** A position on a line. */
export interface Place {
  line: ClusterLine
  lsn: bigint
}

/** The WAL that some bases lead to, line by line. @param scanOf reads the WAL of a base's system */
export async function searchedBy<C extends Candidate>(
  candidates: readonly C[],
  scanOf: (candidate: C) => Promise<WalScan>,
): Promise<Searched[]> {
  const byLine = new Map<ClusterLine, { scan: WalScan; numbers: Set<number> }>()
  for (const candidate of candidates) {
    const { line } = candidate
    const known = byLine.get(line) ?? { scan: await scanOf(candidate), numbers: new Set() }
    for (const segment of segmentsOf(candidate)) known.numbers.add(segment)
    byLine.set(line, known)
  }
  return [...byLine].map(([line, { scan, numbers }]) => {
    return { line, scan, segments: [...numbers].sort((a, b) => a - b) }
  })
}

/** From the segment in which a base ends, where it is archived: records after that end are in it. */
function segmentsOf({ base, line, reach, system }: Candidate): number[] {
  const spans = system.archived.get(timelineOfSegment(line, base.stopSegment, system.segmentBytes)) ?? []
  const isArchived = spans.some(({ from, to }) => from <= base.stopSegment && base.stopSegment < to)
  const from = isArchived ? base.stopSegment : reach.from
  return Array.from({ length: Math.max(0, reach.to - from) }, (_, at) => from + at)
}

/**
 * Where a transaction ends; null where it does not. Numbers are given out in order and written down with every checkpoint:
 * what lies before the number was given out is left out by halves, and the rest is read up to its end.
 * @throws NexusError damage of a segment in which it may end
 */
export async function locateTransaction({ line, scan, segments }: Searched, xid: number): Promise<Place | null> {
  const start = await notBefore(segments, async segment => {
    for await (const { facts } of scan.scan(line, { first: segment, to: segment + 1 })) {
      if (facts !== null && facts.nextXid !== null) return endsLater(facts, xid)
    }
    return null
  })
  let damage: NexusError | null = null
  for (const { first, to } of runsOf(segments.slice(start))) {
    for await (const { segment, facts, damage: found } of scan.scan(line, { first, to })) {
      damage ??= found
      if (facts === null || !mayEnd(facts, xid)) continue
      for await (const event of scan.events(line, { first: segment, to: segment + 1 })) {
        const isEnd = event.kind === 'commit' || event.kind === 'abort'
        if (isEnd && (event.xid === xid || event.members.includes(xid))) return { line, lsn: event.lsn }
      }
    }
  }
  if (damage !== null) throw damage
  return null
}

/** The last place in a list, or 0, for which it is known that nothing before it can be meant. */
async function notBefore(
  segments: readonly number[],
  isLater: (segment: number) => Promise<boolean | null>,
): Promise<number> {
  let [low, high] = [0, segments.length]
  while (high - low > 1) {
    const middle = (low + high) >> 1
    let answer: boolean | null = null
    let at = middle
    for (; at < high; at++) {
      const segment = segments[at]
      answer = segment === undefined ? null : await isLater(segment)
      if (answer !== null) break
    }
    if (answer === true) low = at
    else high = middle
  }
  return low
}

type RestorePoint = SegmentFacts['restorePoints'][number]

/**
 * Where a restore point of this name was made; null where none was.
 * @param since the first position that any base leads to
 * @throws NexusError usage (`restore_point_ambiguous`) for a name that was given several times, with times and positions;
 *   damage where it was not found and may be in a damaged segment
 */
export async function locateRestorePoint(
  context: Context,
  lines: readonly Searched[],
  { name, since, source }: { name: string; since: bigint; source: string },
): Promise<Place | null> {
  const found = new Map<bigint, RestorePoint & Place>()
  let damage: NexusError | null = null
  for (const { line, scan, segments } of lines) {
    for (const { first, to } of runsOf(segments)) {
      for await (const scanned of scan.scan(line, { first, to })) {
        damage ??= scanned.damage
        for (const point of scanned.facts?.restorePoints ?? []) {
          if (point.name === name && point.lsn >= since && !found.has(point.lsn))
            found.set(point.lsn, { ...point, line })
        }
      }
    }
  }
  const [only, another] = found.values()
  if (only === undefined && damage !== null) throw damage
  if (another !== undefined) throw ambiguous(name, [...found.values()], source)
  if (only !== undefined && damage !== null) {
    context.warn(`${source}: whether '${name}' was given once more is not known: ${damage.message}`)
  }
  return only ?? null
}

/** Of a name that a nightly job gives, the last ones are shown. */
const SHOWN = 20

function ambiguous(name: string, points: readonly RestorePoint[], source: string): NexusError {
  const inOrder = [...points].sort((a, b) => (a.lsn < b.lsn ? -1 : 1))
  const shown = inOrder.slice(-SHOWN).map(({ lsn, at }) => `${isoMicros(at)} (--lsn ${formatLsn(lsn)})`)
  const earlier = points.length > SHOWN ? `${points.length - SHOWN} earlier ones, ` : ''
  const last = formatLsn(inOrder.at(-1)?.lsn ?? 0n)
  return new NexusError(
    'usage',
    'restore_point_ambiguous',
    `${source}: the restore point '${name}' was made ${points.length} times: ${earlier}${shown.join(', ')}`,
    {
      hint: `name the one that is meant by its position, such as the last one: nexus-backup pitr restore ${shellQuoted(source)} --lsn ${last} --to PATH`,
    },
  )
}

/** Numbers that follow each other. */
function runsOf(segments: readonly number[]): { first: number; to: number }[] {
  const runs: { first: number; to: number }[] = []
  for (const segment of segments) {
    const last = runs.at(-1)
    if (last?.to === segment) last.to = segment + 1
    else runs.push({ first: segment, to: segment + 1 })
  }
  return runs
}
