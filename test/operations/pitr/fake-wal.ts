import { NexusError } from '../../../src/errors.js'
import { type Micros, microsOf } from '../../../src/model/micros.js'
import type { WalScan } from '../../../src/operations/pitr/wal-scan.js'
import { factsOf } from '../../../src/policy/recovery/segment-facts.js'
import type { WalEvent } from '../../../src/sources/postgres/wal-events.js'
import { segmentAt } from '../../../src/sources/postgres/wal-names.js'
import { minute, segmentBytes, within } from './histories.js'

/** A commit in a segment, at a minute; `place` orders those of one segment. */
export function commit(xid: number, segment: number, at: number | Micros = segment, place = 0): WalEvent {
  const time = typeof at === 'bigint' ? at : microsOf(minute(at))
  return { kind: 'commit', lsn: within(segment) + BigInt(place), xid, members: [], at: time }
}

/** WAL that says this and nothing else; a segment is closed half a minute after the minute of its number. */
export function fakeScan(
  events: readonly WalEvent[],
  damaged: readonly number[] = [],
  closed: (segment: number) => number = segment => minute(segment + 0.5),
): WalScan & { read: number[] } {
  const inSegment = (segment: number) => events.filter(({ lsn }) => segmentAt(lsn, segmentBytes) === segment)
  const read: number[] = []
  return {
    read,
    async *scan(_, { first, to }) {
      for (let segment = first; segment < to; segment++) {
        read.push(segment)
        const damage = damaged.includes(segment) ? new NexusError('damage', 'wal_damaged', `segment ${segment}`) : null
        const own = inSegment(segment)
        const facts = damage === null ? factsOf(own, own.at(-1)?.lsn ?? null) : null
        yield { segment, facts, damage }
      }
    },
    known: () => undefined,
    async *events(_, { first, to }) {
      for (let segment = first; segment < to; segment++) yield* inSegment(segment)
    },
    closedAt: async (_, segment) => closed(segment),
    save: async () => {},
  }
}
