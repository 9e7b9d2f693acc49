import type { WrittenTime } from '../../config/instant.js'
import { NexusError } from '../../errors.js'
import { endOfMillisecond, isoMicros, isoShort, type Micros } from '../../model/micros.js'
import type { ClockStep, Commit } from '../../policy/recovery/segment-facts.js'
import { formatLsn } from '../../sources/postgres/wal-names.js'
import { type Candidate, iso, nameOf, outside } from './choose.js'
import type { LineWal, StopAt } from './line-wal.js'

/** What the server is told, and what the operator is. */
export interface Resolution {
  /** Null: everything there is. */
  setting: { name: string; value: string } | null
  /** For people: `to 2025-11-03T14:30:00.000Z`. */
  until: string
  notes: string[]
  /** The last commit that is replayed, where it is known. */
  last: Commit | null
  /** The first one that is not. */
  next: Commit | null
}

/** Recovery that ends as soon as the base is consistent. */
const immediately = { name: 'recovery_target', value: 'immediate' } as const

/**
 * How the server is told a time: by the position of the last commit that is not after it. A time itself would let it replay
 * what later transactions did before they committed: the files of a database that is being dropped would be gone. And after
 * the last commit it would wait for a later one and fail.
 *
 * @param wal read up to the end of the time, or to its own end
 * @param isPassed whether there is a later commit
 * @throws NexusError `not-found` after the end of the archive, for a time that came twice, or one that no recovery comes
 *   to; `damage` when a segment is missing before it
 */
export async function resolveTime(
  candidate: Candidate,
  wal: LineWal,
  { at, isPassed }: { at: WrittenTime; isPassed: boolean },
): Promise<Resolution> {
  const { base, system } = candidate
  const until = `to ${isoShort(at.first)}`
  const stop = await wal.lastNotAfter(at.last)
  const notes: string[] = []
  if (!isPassed && stop.next === null) {
    const captured = endOfMillisecond(base.capturedAt)
    const closed = endOfMillisecond((await wal.closedAt()) ?? base.capturedAt)
    const last = stop.last?.at ?? captured
    if (at.first > latest(closed, last, captured)) {
      throw beyond(candidate, isoShort(at.first), stop.last === null ? isoShort(closed) : isoMicros(last))
    }
    const since =
      stop.last === null ? `the end of ${base.id} at ${iso(base.capturedAt)}` : `the last one, at ${isoMicros(last)}`
    notes.push(`no transaction ended between ${since}, and ${isoShort(at.first)}: this is the state of both`)
  }
  const step = wal.steps().find(({ from, to }) => from <= at.last && at.last <= to)
  if (step !== undefined) throw twice(system, isoShort(at.first), step)
  const known = await stopping(candidate, wal, stop, isoShort(at.first))
  return { ...known, until, notes: [...notes, ...known.notes] }
}

/**
 * How the server is told the commit before a position.
 * @throws NexusError `not-found` when no recovery comes to it
 */
export async function resolveBefore(
  candidate: Candidate,
  wal: LineWal,
  { next, position, name }: { next: Commit | null; position: bigint; name: string },
): Promise<Resolution> {
  const { last } = await wal.lastBefore(position)
  return { ...(await stopping(candidate, wal, { last, next }, name)), until: `to the last commit before ${name}` }
}

/** Recovery up to and with a commit. */
async function stopping(
  candidate: Candidate,
  wal: LineWal,
  { last, next }: StopAt,
  asked: string,
): Promise<Omit<Resolution, 'until'>> {
  if (last === null) return { setting: immediately, notes: [], last, next }
  await assertPassable(candidate, wal, last.lsn, asked)
  const notes = await removalNotes(wal, last)
  return { setting: { name: 'recovery_target_lsn', value: formatLsn(last.lsn) }, notes, last, next }
}

/**
 * How the server is told a position.
 * @param wal read up to it
 * @throws NexusError as for an instant
 */
export async function resolvePosition(candidate: Candidate, wal: LineWal, position: bigint): Promise<Resolution> {
  const until = `to ${formatLsn(position)}`
  const nothing = { until, notes: [], last: null, next: null }
  if (position === candidate.base.stop) return { setting: immediately, ...nothing }
  const lastRecord = wal.lastRecord()
  if (lastRecord === null || position > lastRecord) {
    throw beyond(candidate, formatLsn(position), formatLsn(lastRecord ?? candidate.base.stop))
  }
  await assertPassable(candidate, wal, position, formatLsn(position))
  return { setting: { name: 'recovery_target_lsn', value: formatLsn(position) }, ...nothing }
}

/**
 * The end of the gapless archive; what lies behind a gap is said.
 * @param wal read to its end
 * @throws NexusError `not-found` when no recovery comes to it
 */
export async function resolveEnd(candidate: Candidate, wal: LineWal): Promise<Resolution> {
  const { system, line, reach } = candidate
  const end = `the end of the archive on timeline ${line.timeline}`
  const lastRecord = wal.lastRecord()
  if (lastRecord !== null) await assertPassable(candidate, wal, lastRecord, end)
  const gap = reach.missing
  const notes =
    gap === null
      ? []
      : [`segment ${nameOf(system, gap)} is missing: what was archived after it cannot be reached from here`]
  const { last } = lastRecord === null ? { last: null } : await wal.lastBefore(lastRecord + 1n)
  return { setting: null, until: `to ${end}`, notes, last, next: null }
}

/**
 * Makes sure that recovery can come to a position: a server refuses what was written with wal_level=minimal.
 * @throws NexusError `not-found` (`wal_level_minimal`) naming the nearest that can be had
 */
export async function assertPassable(
  { system, base, line }: Candidate,
  wal: LineWal,
  position: bigint,
  asked: string,
): Promise<void> {
  const minimal = wal.minimal()
  if (minimal === null || minimal > position) return
  const { source } = system
  const { last } = await wal.lastBefore(minimal)
  const before =
    last === null ? `the end of ${base.id}: restore ${base.id}` : `${isoMicros(last.at)}: --at ${isoMicros(last.at)}`
  const after = system.bases.find(({ stop, problem, timeline }) => {
    return stop > minimal && problem === null && timeline === line.timeline
  })
  const then = after === undefined ? '' : `; the first after it is ${after.id}, captured at ${iso(after.capturedAt)}`
  throw new NexusError(
    'not-found',
    'wal_level_minimal',
    `${source}: ${asked} cannot be reached from ${base.id}: the server was started with wal_level=minimal at ${formatLsn(minimal)}, and no recovery goes past that`,
    { hint: `the last that can be restored before it is ${before}${then}` },
  )
}

/** Files go before the commit of the transaction that drops them: what is half gone is said. */
async function removalNotes(wal: LineWal, { lsn }: Commit): Promise<string[]> {
  const notes: string[] = []
  for (const { what, oid, xid } of wal.removalsBefore(lsn)) {
    const end = await wal.endOf(xid)
    if (end !== null && end.lsn <= lsn) continue
    notes.push(
      `transaction ${xid} was removing the ${what} with OID ${oid} at this point: its files are gone in the copy, though it is still listed; --xid ${xid} --before restores the state before that`,
    )
  }
  return notes
}

function twice(system: Candidate['system'], asked: string, { lsn, from, to }: ClockStep): NexusError {
  const what = `${asked} came twice: the server's clock was set back at ${formatLsn(lsn)}, from ${isoMicros(to)} to ${isoMicros(from)}`
  return new NexusError('not-found', 'target_twice', `${system.source}: ${what}`, {
    hint: `the nearest times are --at ${isoMicros(from - 1n)} and, where something was committed later, --at ${isoMicros(to + 1n)}; what lies between is restored by --xid or --lsn`,
  })
}

/** A target that recovery would not come to. */
function beyond({ system, reach, passedOver }: Candidate, asked: string, last: string): NexusError {
  if (reach.missing === null) {
    return outside('target_too_late', system, `${asked} is after the last that can be restored, ${last}`)
  }
  const name = nameOf(system, reach.missing)
  return new NexusError(
    'damage',
    'wal_missing',
    `${system.source}: segment ${name} is missing between the backup and ${asked}; the last that can be restored before it is ${last}`,
    {
      hint: `if the server still has it, archive it from there: nexus-backup pitr archive pg_wal/${name}${elseMarked(passedOver)}`,
    },
  )
}

/** A newer base that is not used, and behind the gap. */
function elseMarked(passedOver: Candidate['passedOver']): string {
  const marked = passedOver.findLast(({ isMarked }) => isMarked === true)
  return marked === undefined
    ? ''
    : `; ${marked.id} was made after it, of a damaged cluster: --allow-damaged restores from that`
}

function latest(...instants: Micros[]): Micros {
  return instants.reduce((last, at) => (at > last ? at : last))
}
