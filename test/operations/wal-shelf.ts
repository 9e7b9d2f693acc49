import { readdirSync, readFileSync } from 'node:fs'
import type { Manifest } from '../../src/repository/manifest.js'
import type { S3Settings } from '../../src/repository/storage/s3/settings.js'
import type { SourceRoom } from '../../src/repository/types.js'
import type { WalArchive } from '../../src/repository/wal/types.js'
import { formatLsn, segmentName, segmentStart } from '../../src/sources/postgres/wal-names.js'
import { type Shelf, shelf } from './shelf.js'

/** The smallest that a cluster can have (`initdb --wal-segsize=1`). */
export const segmentBytes = 1024 * 1024
export const system = '7432109876543210987'

/** A shelf with bases of clusters and real archived WAL. */
export interface WalShelf extends Shelf {
  readonly db: SourceRoom
  archive(of?: string): WalArchive
  /** A base captured on a day of November 2025, 03:00 UTC, that begins in a segment and ends in the same one. */
  base(day: number, number: number, wishes?: BaseWishes): Promise<string>
  /** Archives segments, each an hour after another from a day of November 2025 on, and their timeline's history. */
  segments(numbers: readonly number[], wishes?: SegmentWishes): Promise<void>
  /** Numbers of the segments that are archived, `TIMELINE/NUMBER`. */
  archived(of?: string): Promise<string[]>
  /** Path of an archived file. */
  file(name: string, of?: string): string
}

interface BaseWishes extends Partial<Manifest> {
  timeline?: number
  system?: string
}

interface SegmentWishes {
  day?: number
  timeline?: number
  system?: string
}

export const name = (number: number, timeline = 1) => segmentName(timeline, number, segmentBytes)

export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index)
}

/** @param s3 a bucket to put it in, else a directory */
export async function walShelf(s3?: S3Settings): Promise<WalShelf> {
  const one = await shelf('local', s3)
  const db = one.room('db')
  const claim = { kind: 'postgres' as const, host: 'db1', path: null, system_identifier: system }
  await db.enter(claim, { adopt: false, now: new Date('2025-11-01T00:00:00Z') })
  return {
    ...one,
    db,
    archive: (of = system) => db.wal(of),
    base(day, number, { timeline = 1, system: of = system, ...wishes } = {}) {
      const start = segmentStart(number, segmentBytes)
      const facts = {
        system_identifier: of,
        timeline,
        start_lsn: formatLsn(start + 40n),
        stop_lsn: formatLsn(start + 4096n),
        start_segment: name(number, timeline),
        stop_segment: name(number, timeline),
        wal_segment_bytes: segmentBytes,
      }
      return one.add(day, { source: 'db', kind: 'postgres', facts, ...wishes })
    },
    async segments(numbers, { day = 1, timeline = 1, system: of = system } = {}) {
      for (const [index, number] of numbers.entries()) {
        const at = new Date(Date.UTC(2025, 10, day, index))
        await db.wal(of).put(name(number, timeline), segmentContent(number, timeline, of), { closedAt: at, now: at })
      }
    },
    async archived(of = system) {
      return (await db.wal(of).names()).map(shortName)
    },
    file: (file, of = system) => one.path('db', 'wal', of, file.slice(0, 8), `${file}.zst`),
  }
}

/** `TIMELINE/NUMBER` of a segment, with what follows its name. */
function shortName(entry: string): string {
  if (entry.length < 24) return entry
  const number = Number.parseInt(entry.slice(8, 16), 16) * 4096 + Number.parseInt(entry.slice(16, 24), 16)
  return `${Number.parseInt(entry.slice(0, 8), 16)}/${number}${entry.slice(24)}`
}

/** A segment as far as its first page's header tells (PostgreSQL 15, xlog_internal.h), and content of its own. */
export function segmentContent(number: number, timeline = 1, of = system): Buffer {
  const bytes = Buffer.alloc(segmentBytes, `segment ${number} of timeline ${timeline} `)
  bytes.fill(0, 0, 40)
  bytes.writeUInt16LE(0xd110, 0)
  bytes.writeUInt16LE(0x0002, 2)
  bytes.writeUInt32LE(timeline, 4)
  bytes.writeBigUInt64LE(segmentStart(number, segmentBytes), 8)
  bytes.writeBigUInt64LE(BigInt(of), 24)
  bytes.writeUInt32LE(segmentBytes, 32)
  bytes.writeUInt32LE(8192, 36)
  return bytes
}

/** A history file: each ancestor with the segment in whose middle it was left. */
export function historyContent(ancestors: readonly [timeline: number, number: number][]): Buffer {
  const half = BigInt(segmentBytes / 2)
  const lines = ancestors.map(([timeline, number]) => {
    return `${timeline}\t${formatLsn(segmentStart(number, segmentBytes) + half)}\tno recovery target specified\n`
  })
  return Buffer.from(lines.join('\n'))
}

/** Everything below a directory, with its bytes: to see that nothing changed. */
export function contentOf(directory: string): Record<string, string> {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
  return Object.fromEntries(
    files.map(entry => [
      `${entry.parentPath}/${entry.name}`,
      readFileSync(`${entry.parentPath}/${entry.name}`, 'base64'),
    ]),
  )
}
