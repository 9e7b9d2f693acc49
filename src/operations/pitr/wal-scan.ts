import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { factsOf, type SegmentFacts } from '../../policy/recovery/segment-facts.js'
import type { WalArchive } from '../../repository/wal/types.js'
import { eventOf, eventRecords, type WalEvent } from '../../sources/postgres/wal-events.js'
import { segmentStart } from '../../sources/postgres/wal-names.js'
import { WalRecords } from '../../sources/postgres/wal-records.js'
import { nameOf } from './choose.js'
import { type ClusterLine, timelineOfSegment } from './lines.js'
import type { ClusterSystem } from './systems.js'
import type { WalIndex } from './wal-index.js'

/** Segments of a line by their numbers, the second one excluded; all of them are archived. */
export interface Segments {
  first: number
  to: number
}

/** A segment and what it says; of a damaged one why it says nothing. */
export interface ScannedSegment {
  segment: number
  facts: SegmentFacts | null
  damage: NexusError | null
}

/** Reads the archived WAL of one system. What was read of a segment is remembered. */
export interface WalScan {
  /** The facts of segments, in order. */
  scan(line: ClusterLine, segments: Segments): AsyncGenerator<ScannedSegment, void, void>
  /** The facts where they are remembered. */
  known(line: ClusterLine, segment: number): SegmentFacts | undefined
  /** Every event of segments, in order. @throws NexusError damage */
  events(line: ClusterLine, segments: Segments): AsyncGenerator<WalEvent, void, void>
  /** When the server had finished a segment, milliseconds since 1970 UTC. */
  closedAt(line: ClusterLine, segment: number): Promise<number>
  /** Remembers on disk what was read. */
  save(): Promise<void>
}

/** @param major version of the server that wrote the WAL */
export function scanWal(
  context: Context,
  system: ClusterSystem & { archive: WalArchive },
  { major, index }: { major: number; index: WalIndex },
): WalScan {
  const { segmentBytes } = system
  const timelineAt = (line: ClusterLine, segment: number) => timelineOfSegment(line, segment, segmentBytes)
  const nameAt = (line: ClusterLine, segment: number) =>
    nameOf(system, { segment, timeline: timelineAt(line, segment) })
  const isArchived = (line: ClusterLine, segment: number) =>
    (system.archived.get(timelineAt(line, segment)) ?? []).some(({ from, to }) => from <= segment && segment < to)
  /** A record at the end goes on in the next segment: it is another one where the timeline was left there. */
  const keyOf = (line: ClusterLine, segment: number) => {
    const next = timelineAt(line, segment + 1)
    return next === timelineAt(line, segment) ? nameAt(line, segment) : `${nameAt(line, segment)}>${next}`
  }
  const names = new Set<string>()
  for (const [timeline, spans] of system.archived) {
    for (const { from, to } of spans) {
      for (let segment = from; segment < to; segment++) names.add(nameOf(system, { timeline, segment }))
    }
  }

  /** Reads ahead by one segment; the memory of each is used again for the one after the next. */
  async function* contents(line: ClusterLine, { first, to }: Segments): AsyncGenerator<Buffer, void, void> {
    const rooms: (Buffer | undefined)[] = [undefined, undefined]
    const begin = (segment: number) => {
      const reading = system.archive.read(nameAt(line, segment), rooms[segment % 2])
      // Whoever asks for it hears of a failure.
      reading.catch(() => {})
      return reading
    }
    let next = begin(first)
    for (let segment = first; segment < to; segment++) {
      context.signal.throwIfAborted()
      const { plain } = await next
      rooms[segment % 2] = plain
      if (segment + 1 < to) next = begin(segment + 1)
      yield plain
    }
  }

  function eventsOf(records: WalRecords, plain: Buffer): WalEvent[] {
    return [...records.push(plain)].flatMap(record => eventOf(record, major) ?? [])
  }

  /** The events of unknown segments that follow each other, those of a record that goes on with the segment it begins in. */
  async function* read(line: ClusterLine, { first, to }: Segments): AsyncGenerator<ScannedSegment, void, void> {
    const records = new WalRecords(eventRecords)
    let events: WalEvent[] = []
    let last: bigint | null = null
    let segment = first
    const close = (): ScannedSegment => {
      const facts = factsOf(events, last)
      if (!records.isUnfinished) index.set(keyOf(line, segment), facts)
      return { segment, facts, damage: null }
    }
    try {
      let isOpen = false
      for await (const plain of contents(line, { first, to })) {
        const found = eventsOf(records, plain)
        const begin = segmentStart(isOpen ? segment + 1 : segment, segmentBytes)
        if (isOpen) {
          const own = found.filter(({ lsn }) => lsn < begin)
          if (own.length > 0) last = own.at(-1)?.lsn ?? last
          events.push(...own)
          yield close()
          segment += 1
        }
        events = found.filter(({ lsn }) => lsn >= begin)
        last = records.last
        isOpen = records.isUnfinished
        if (isOpen) continue
        yield close()
        segment += 1
      }
      if (!isOpen) return
      if (isArchived(line, segment + 1)) {
        const { plain } = await system.archive.read(nameAt(line, segment + 1))
        const begin = segmentStart(segment + 1, segmentBytes)
        for (const record of records.push(plain)) {
          if (record.lsn >= begin) break
          const event = eventOf(record, major)
          last = record.lsn
          if (event !== null) events.push(event)
        }
      }
      yield close()
    } catch (error) {
      if (!(error instanceof NexusError) || error.kind !== 'damage') throw error
      yield { segment, facts: null, damage: error }
    }
  }

  return {
    async *scan(line, { first, to }) {
      for (let segment = first; segment < to; ) {
        const facts = index.get(keyOf(line, segment))
        if (facts !== undefined) {
          yield { segment, facts, damage: null }
          segment += 1
          continue
        }
        let unknown = segment + 1
        while (unknown < to && index.get(keyOf(line, unknown)) === undefined) unknown += 1
        for await (const scanned of read(line, { first: segment, to: unknown })) {
          context.progress({
            phase: `${system.source}: reading the WAL`,
            done: scanned.segment + 1 - first,
            total: to - first,
            unit: 'items',
          })
          yield scanned
          segment = scanned.segment + 1
        }
      }
    },
    known: (line, segment) => index.get(keyOf(line, segment)),
    async *events(line, { first, to }) {
      const records = new WalRecords(eventRecords)
      for await (const plain of contents(line, { first, to })) yield* eventsOf(records, plain)
      if (!records.isUnfinished || !isArchived(line, to)) return
      const { plain } = await system.archive.read(nameAt(line, to))
      for (const record of records.push(plain)) {
        if (record.lsn >= segmentStart(to, segmentBytes)) return
        const event = eventOf(record, major)
        if (event !== null) yield event
      }
    },
    closedAt: async (line, segment) => Date.parse((await system.archive.headerOfOurs(nameAt(line, segment))).closed_at),
    save: () => index.save(key => names.has(key.slice(0, 24))),
  }
}
