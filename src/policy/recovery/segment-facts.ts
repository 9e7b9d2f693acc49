import type { Micros } from '../../model/micros.js'

/** A commit in the WAL. */
export interface Commit {
  xid: number
  lsn: bigint
  at: Micros
}

/** Commits that follow each other while the server's clock goes forward. One does not go on behind `wal_level=minimal`. */
export interface ClockRun {
  /** The first of them. */
  lsn: bigint
  earliest: Micros
  latest: Micros
}

/** Files of a database or a tablespace are removed at `lsn`, before the transaction commits. */
export interface Removal {
  lsn: bigint
  xid: number
  what: 'database' | 'tablespace'
  oid: number
}

/** What a segment of the WAL says of the points at which a recovery can end. */
export interface SegmentFacts {
  /** Position of its last whole record. */
  lastRecord: bigint | null
  commits: { first: Commit; last: Commit } | null
  runs: readonly ClockRun[]
  /** Lowest and highest number of a transaction that ends here, in the order in which numbers are given out. */
  xids: { low: number; high: number } | null
  /** The number that the next transaction was to get when the server first wrote it down here; null where it did not. */
  nextXid: number | null
  /** Where the server was started with wal_level=minimal. */
  minimal: readonly bigint[]
  restorePoints: readonly { name: string; lsn: bigint; at: Micros }[]
  removals: readonly Removal[]
}

/**
 * Commits are written in about the order of their times: a transaction reads the clock before it waits for its turn. Only a
 * larger step back is taken for a clock that was set.
 */
const CONCURRENT: Micros = 2_000_000n

type Event =
  | ({ kind: 'commit' | 'abort'; members: readonly number[] } & Commit)
  | { kind: 'restore-point'; lsn: bigint; name: string; at: Micros }
  | { kind: 'parameters'; lsn: bigint; isMinimal: boolean }
  | { kind: 'next-xid'; lsn: bigint; xid: number }
  | ({ kind: 'drop' } & Removal)

/** Sums a segment up. @param events of the records that begin in it, in order */
export function factsOf(events: Iterable<Event>, lastRecord: bigint | null): SegmentFacts {
  const commits: Commit[] = []
  let xids: SegmentFacts['xids'] = null
  let nextXid: number | null = null
  const runs: ClockRun[] = []
  let own: ClockRun[] = []
  const minimal: bigint[] = []
  const restorePoints: SegmentFacts['restorePoints'][number][] = []
  const removals: Removal[] = []
  for (const event of events) {
    const { lsn } = event
    if (event.kind === 'commit' || event.kind === 'abort') {
      for (const xid of [event.xid, ...event.members]) xids = widened(xids, xid)
    }
    if (event.kind === 'commit') {
      commits.push({ xid: event.xid, lsn, at: event.at })
      extend(own, { lsn, earliest: event.at, latest: event.at })
    }
    if (event.kind === 'next-xid') nextXid ??= event.xid
    if (event.kind === 'restore-point') restorePoints.push({ name: event.name, lsn, at: event.at })
    if (event.kind === 'parameters' && event.isMinimal) {
      minimal.push(lsn)
      runs.push(...own)
      own = []
    }
    if (event.kind === 'drop') removals.push({ lsn, xid: event.xid, what: event.what, oid: event.oid })
  }
  const [first] = commits
  const last = commits.at(-1)
  const both = first === undefined || last === undefined ? null : { first, last }
  return { lastRecord, commits: both, runs: [...runs, ...own], xids, nextXid, minimal, restorePoints, removals }
}

/** The runs of segments that follow each other, of the commits before a position. */
export function runsOf(segments: Iterable<Pick<SegmentFacts, 'runs'>>, before: bigint | null = null): ClockRun[] {
  const runs: ClockRun[] = []
  for (const { runs: own } of segments)
    for (const run of own) if (before === null || run.lsn < before) extend(runs, run)
  return runs
}

/** A time at which the clock was set back: what lies between `from` and `to` came twice. */
export interface ClockStep {
  /** The first commit after it. */
  lsn: bigint
  from: Micros
  to: Micros
}

/** The times that do not name one position, in the order of the WAL. */
export function clockSteps(runs: readonly ClockRun[]): ClockStep[] {
  const steps: ClockStep[] = []
  let latest: Micros | undefined
  for (const run of runs) {
    if (latest !== undefined && run.earliest <= latest) steps.push({ lsn: run.lsn, from: run.earliest, to: latest })
    if (latest === undefined || run.latest > latest) latest = run.latest
  }
  return steps
}

/** Whether a transaction with this number may end in the segment. */
export function mayEnd({ xids }: Pick<SegmentFacts, 'xids'>, xid: number): boolean {
  return xids !== null && distance(xids.low, xid) >= 0 && distance(xid, xids.high) >= 0
}

/** Whether a transaction with this number can only end in the segment or later: it was not yet given out there. */
export function endsLater({ nextXid }: Pick<SegmentFacts, 'nextXid'>, xid: number): boolean {
  return nextXid !== null && distance(nextXid, xid) >= 0
}

function extend(runs: ClockRun[], run: ClockRun): void {
  const last = runs.at(-1)
  if (last === undefined || run.earliest < last.latest - CONCURRENT) {
    runs.push({ ...run })
    return
  }
  if (run.earliest < last.earliest) last.earliest = run.earliest
  if (run.latest > last.latest) last.latest = run.latest
}

function widened(known: SegmentFacts['xids'], xid: number): { low: number; high: number } {
  if (known === null) return { low: xid, high: xid }
  if (distance(xid, known.low) > 0) return { low: xid, high: known.high }
  return distance(known.high, xid) > 0 ? { low: known.low, high: xid } : known
}

/** How far a number lies after another: they begin again after 2^32 (PostgreSQL transam.c, TransactionIdPrecedes). */
function distance(from: number, to: number): number {
  return (to - from) | 0
}
