import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Context } from '../../context.js'
import type { WalArchive } from '../../repository/wal/types.js'
import { findPrograms, type Programs } from '../../sources/postgres/programs.js'
import { parseLsn } from '../../sources/postgres/wal-names.js'
import {
  endedTransaction,
  endOfTransaction,
  restorePointName,
  type WalRecord,
  walRecords,
} from '../../sources/postgres/waldump.js'
import { nameOf } from './choose.js'
import { type ClusterLine, type Reach, timelineOfSegment } from './lines.js'
import type { ClusterSystem, StretchEnd } from './systems.js'

/** Looks into the log of one system: segments are brought into a scratch directory one stretch at a time. */
export interface WalLook {
  /** The last transaction and the closing of a stretch; `first`: the segment that the search goes back to. */
  end(line: ClusterLine, stretch: { first: number; to: number }): Promise<StretchEnd>
  /** Position of the last record of the stretch; null when nothing is archived. */
  lastRecord(line: ClusterLine, reach: Reach): Promise<bigint | null>
  /** The first record that is looked for, from a segment up to another (excluded); null when there is none. */
  find(line: ClusterLine, stretch: { first: number; to: number }, wanted: WantedRecord): Promise<bigint | null>
}

/** A record not before a position. */
export type WantedRecord = { notBefore: bigint } & ({ xid: number } | { restorePoint: string })

/** Segments looked at together when the log is searched from its beginning. */
const BATCH = 16

/**
 * @param scratch directory of the caller's, removed by him
 * @throws NexusError `programs_missing` (from the methods) naming the package, where pg_waldump of the server's version is
 *   not installed
 */
export function lookInto(
  context: Context,
  system: ClusterSystem & { archive: WalArchive },
  { major, binDirectory, scratch }: { major: number; binDirectory: string | null; scratch: string },
): WalLook {
  let found: Promise<Programs> | undefined
  const programs = () => {
    found ??= findPrograms({ binDirectory, path: context.env.PATH }, { major, exact: true, programs: ['pg_waldump'] })
    return found
  }
  const nameAt = (line: ClusterLine, segment: number) =>
    nameOf(system, { segment, timeline: timelineOfSegment(line, segment, system.segmentBytes) })

  /** Runs over the records of [first, to), which must be archived and of one timeline. */
  async function records(
    line: ClusterLine,
    { first, to, rmgr }: { first: number; to: number; rmgr?: string },
    take: (record: WalRecord) => boolean,
  ): Promise<void> {
    const files: string[] = []
    try {
      for (let segment = first; segment < to; segment++) {
        context.signal.throwIfAborted()
        const name = nameAt(line, segment)
        const { plain } = await system.archive.read(name)
        const path = join(scratch, name)
        files.push(path)
        await writeFile(path, plain, { mode: 0o600 })
      }
      const { env, signal } = context
      const request = {
        programs: await programs(),
        directory: scratch,
        env,
        signal,
        ...(rmgr === undefined ? {} : { rmgr }),
      }
      const range = { from: nameAt(line, first), to: nameAt(line, to - 1) }
      for await (const record of walRecords({ ...request, ...range })) if (!take(record)) return
    } finally {
      for (const path of files) await rm(path, { force: true })
    }
  }

  async function lastTransaction(line: ClusterLine, first: number, to: number): Promise<StretchEnd['lastTransaction']> {
    let size = 1
    for (let upTo = to; upTo > first; ) {
      const { timeline, from } = stretchBefore(line, system, { first, to: upTo, size })
      let last: StretchEnd['lastTransaction'] = null
      // One more at the end: a record may go on there.
      const end = upTo < to && timelineOfSegment(line, upTo, system.segmentBytes) === timeline ? upTo + 1 : upTo
      await records(line, { first: from, to: end, rmgr: 'Transaction' }, record => {
        const at = endOfTransaction(record)
        if (at !== null) last = { at, lsn: positionOf(record) }
        return true
      })
      if (last !== null) return last
      upTo = from
      size = Math.min(size * 2, BATCH)
    }
    return null
  }

  return {
    async end(line, { first, to }) {
      if (to <= first) return { lastTransaction: null, closedAt: null }
      const header = await system.archive.header(nameAt(line, to - 1))
      return { lastTransaction: await lastTransaction(line, first, to), closedAt: Date.parse(header.closed_at) }
    },
    async lastRecord(line, reach) {
      if (reach.to <= reach.from) return null
      let last: bigint | null = null
      await records(line, { first: reach.to - 1, to: reach.to }, record => {
        last = positionOf(record)
        return true
      })
      return last
    },
    async find(line, { first, to }, wanted) {
      const rmgr = 'xid' in wanted ? 'Transaction' : 'XLOG'
      for (let from = first; from < to; ) {
        const upTo = stretchAfter(line, system, { first: from, to, size: BATCH })
        let at: bigint | null = null
        const isSame = (segment: number) =>
          segment < to &&
          timelineOfSegment(line, segment, system.segmentBytes) === timelineOfSegment(line, from, system.segmentBytes)
        await records(line, { first: from, to: isSame(upTo) ? upTo + 1 : upTo, rmgr }, record => {
          if (isWanted(record, wanted)) at = positionOf(record)
          return at === null
        })
        if (at !== null) return at
        from = upTo
      }
      return null
    },
  }
}

function isWanted(record: WalRecord, wanted: WantedRecord): boolean {
  if (positionOf(record) < wanted.notBefore) return false
  if ('xid' in wanted) return endedTransaction(record) === wanted.xid
  return restorePointName(record) === wanted.restorePoint
}

function positionOf({ lsn }: WalRecord): bigint {
  return parseLsn(lsn) ?? 0n
}

/** At most `size` segments of one timeline that end before `to`. */
function stretchBefore(
  line: ClusterLine,
  { segmentBytes }: ClusterSystem,
  { first, to, size }: { first: number; to: number; size: number },
): { timeline: number; from: number } {
  const timeline = timelineOfSegment(line, to - 1, segmentBytes)
  let from = to - 1
  while (from > first && to - from < size && timelineOfSegment(line, from - 1, segmentBytes) === timeline) from -= 1
  return { timeline, from }
}

/** End of at most `size` segments of one timeline that begin with `first`. */
function stretchAfter(
  line: ClusterLine,
  { segmentBytes }: ClusterSystem,
  { first, to, size }: { first: number; to: number; size: number },
): number {
  const timeline = timelineOfSegment(line, first, segmentBytes)
  let end = first + 1
  while (end < to && end - first < size && timelineOfSegment(line, end, segmentBytes) === timeline) end += 1
  return end
}
