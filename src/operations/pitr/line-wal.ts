import type { Micros } from '../../model/micros.js'
import {
  type ClockStep,
  type Commit,
  clockSteps,
  mayEnd,
  type Removal,
  runsOf,
  type SegmentFacts,
} from '../../policy/recovery/segment-facts.js'
import type { TransactionEnd } from '../../sources/postgres/wal-events.js'
import type { Candidate } from './choose.js'
import { timelineOfSegment } from './lines.js'
import type { WalScan } from './wal-scan.js'

/** Where a recovery stops. */
export interface StopAt {
  /** The last commit that is replayed; null when none is after the base. */
  last: Commit | null
  /** The first commit that is not; null when none is known. */
  next: Commit | null
}

/** Transactions read the clock before they are written down, so the times of commits that lie together are not in order. */
const SLACK: Micros = 2_000_000n

/** The WAL that leads on from a base, as far as it was read. What lies before the base's end does not count. */
export class LineWal {
  readonly #scan: WalScan
  readonly #candidate: Candidate
  readonly #first: number
  readonly #to: number
  readonly #facts = new Map<number, SegmentFacts>()
  /** The first segment that was not yet looked at. */
  #next: number

  /** @param to the first segment that is left out; all are read when there is none */
  constructor(scan: WalScan, candidate: Candidate, to = Number.POSITIVE_INFINITY) {
    const { base, line, reach, system } = candidate
    this.#scan = scan
    this.#candidate = candidate
    const spans = system.archived.get(timelineOfSegment(line, base.stopSegment, system.segmentBytes)) ?? []
    const isArchived = spans.some(span => span.from <= base.stopSegment && base.stopSegment < span.to)
    this.#first = isArchived ? base.stopSegment : reach.from
    this.#to = Math.min(reach.to, to)
    this.#next = this.#first
  }

  /**
   * Reads segments in order until one satisfies.
   * @returns whether one did
   * @throws NexusError damage of a segment before that
   */
  async readUntil(isEnough: (facts: SegmentFacts) => Promise<boolean> | boolean): Promise<boolean> {
    const segments = { first: this.#next, to: this.#to }
    for await (const { segment, facts, damage } of this.#scan.scan(this.#candidate.line, segments)) {
      if (facts === null) throw damage
      this.#facts.set(segment, facts)
      this.#next = segment + 1
      if (await isEnough(facts)) return true
    }
    return false
  }

  /** Reads all there is. @throws NexusError damage */
  async readAll(): Promise<void> {
    await this.readUntil(() => false)
  }

  /**
   * Reads until the commits are later than an instant. The segments after that are read only where they are remembered, or
   * where the times at which they were closed show that the server's clock was set back.
   *
   * @returns whether there are later commits
   * @throws NexusError damage
   */
  async readBeyond(limit: Micros): Promise<boolean> {
    const isPassed = await this.readUntil(({ runs }) => {
      return runs.length > 0 && runs.every(({ earliest }) => earliest > limit + SLACK)
    })
    if (isPassed) await this.#readSetBack()
    return isPassed
  }

  async #readSetBack(): Promise<void> {
    const { line } = this.#candidate
    const slack = Number(SLACK / 1000n)
    let latest = await this.#scan.closedAt(line, this.#next - 1)
    let isBehind = false
    for (let segment = this.#next; segment < this.#to; segment++) {
      const closed = await this.#scan.closedAt(line, segment)
      const wasBehind = isBehind
      isBehind = closed < latest - slack
      latest = Math.max(latest, closed)
      const known = this.#scan.known(line, segment)
      if (known !== undefined) this.#facts.set(segment, known)
      else if (isBehind || wasBehind) {
        for await (const { facts } of this.#scan.scan(line, { first: segment, to: segment + 1 })) {
          if (facts !== null) this.#facts.set(segment, facts)
        }
      }
    }
  }

  /** When the server had finished the last segment, milliseconds since 1970 UTC; null when nothing is archived. */
  async closedAt(): Promise<number | null> {
    return this.#to > this.#first ? this.#scan.closedAt(this.#candidate.line, this.#to - 1) : null
  }

  /** Times that came twice, of what was read. */
  steps(): ClockStep[] {
    return clockSteps(runsOf(this.#inOrder().map(([, facts]) => facts)))
  }

  /** Where the server was started with wal_level=minimal: no recovery goes past that. Null for nowhere. */
  minimal(): bigint | null {
    return this.#inOrder().flatMap(([, facts]) => facts.minimal.filter(lsn => this.#counts(lsn)))[0] ?? null
  }

  /** Position of the last record that was read; null for none. */
  lastRecord(): bigint | null {
    return this.#inOrder().findLast(([, { lastRecord }]) => lastRecord !== null)?.[1].lastRecord ?? null
  }

  /** The last commit, in the order of the WAL, whose time is not after an instant. */
  async lastNotAfter(limit: Micros): Promise<StopAt> {
    const isIn = ({ runs }: SegmentFacts) => runs.some(({ earliest }) => earliest <= limit)
    return this.#stopAt(isIn, ({ at }) => at <= limit)
  }

  /** The last commit before a position. */
  async lastBefore(position: bigint): Promise<StopAt> {
    const isIn = ({ commits }: SegmentFacts) => commits !== null && commits.first.lsn < position
    return this.#stopAt(isIn, ({ lsn }) => lsn < position)
  }

  /** The first commit after a position, looked for beyond what was read; null when there is none, or damage before it. */
  async nextAfter(position: bigint): Promise<Commit | null> {
    const { next } = await this.lastBefore(position + 1n)
    if (next !== null) return next
    const segments = { first: this.#next, to: this.#to }
    for await (const { facts } of this.#scan.scan(this.#candidate.line, segments)) {
      if (facts === null) return null
      if (facts.commits !== null) return facts.commits.first
    }
    return null
  }

  /** The first commit, in the order of the WAL, whose time is not before an instant; null when none is. */
  async firstNotBefore(at: Micros): Promise<Commit | null> {
    for (const [segment, { runs }] of this.#inOrder()) {
      if (!runs.some(({ latest }) => latest >= at)) continue
      for await (const commit of this.#commits(segment)) if (commit.at >= at) return commit
    }
    return null
  }

  /** The end of a transaction, or of one that it is a part of; null when it does not end in what was read. */
  async endOf(xid: number): Promise<TransactionEnd | null> {
    for (const [segment, facts] of this.#inOrder()) {
      const end = mayEnd(facts, xid) ? await this.#endIn(segment, xid) : null
      if (end !== null) return end
    }
    return null
  }

  async #endIn(segment: number, xid: number): Promise<TransactionEnd | null> {
    for await (const event of this.#scan.events(this.#candidate.line, { first: segment, to: segment + 1 })) {
      const isEnd = event.kind === 'commit' || event.kind === 'abort'
      if (isEnd && this.#counts(event.lsn) && (event.xid === xid || event.members.includes(xid))) return event
    }
    return null
  }

  /** Files of databases and tablespaces that are removed before a position. */
  removalsBefore(position: bigint): Removal[] {
    const all = this.#inOrder().flatMap(([, { removals }]) => removals)
    return all.filter(({ lsn }) => this.#counts(lsn) && lsn < position)
  }

  async #stopAt(isIn: (facts: SegmentFacts) => boolean, isWanted: (commit: Commit) => boolean): Promise<StopAt> {
    for (const [segment] of this.#inOrder()
      .filter(([, facts]) => isIn(facts))
      .reverse()) {
      const stop: StopAt = { last: null, next: null }
      for await (const commit of this.#commits(segment)) {
        if (isWanted(commit)) Object.assign(stop, { last: commit, next: null })
        else if (stop.last !== null) stop.next ??= commit
      }
      if (stop.last !== null) return { last: stop.last, next: stop.next ?? (await this.#firstAfter(segment)) }
    }
    return { last: null, next: await this.#firstAfter(this.#first - 1) }
  }

  /** The first commit in a later segment. */
  async #firstAfter(segment: number): Promise<Commit | null> {
    for (const [later, { commits }] of this.#inOrder()) {
      if (later <= segment || commits === null || !this.#counts(commits.last.lsn)) continue
      if (this.#counts(commits.first.lsn)) return commits.first
      for await (const commit of this.#commits(later)) return commit
    }
    return null
  }

  async *#commits(segment: number): AsyncGenerator<Commit, void, void> {
    for await (const event of this.#scan.events(this.#candidate.line, { first: segment, to: segment + 1 })) {
      if (event.kind !== 'commit' || !this.#counts(event.lsn)) continue
      const { xid, lsn, at } = event
      yield { xid, lsn, at }
    }
  }

  #counts(lsn: bigint): boolean {
    return lsn >= this.#candidate.base.stop
  }

  #inOrder(): [number, SegmentFacts][] {
    return [...this.#facts].sort(([a], [b]) => a - b)
  }
}
