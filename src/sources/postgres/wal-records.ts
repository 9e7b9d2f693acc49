import { NexusError } from '../../errors.js'
import { parseWalHeader } from './wal-header.js'

/** A record of the WAL. */
export interface WalRecord {
  /** Where it begins. */
  lsn: bigint
  /** Number of its resource manager (PostgreSQL rmgrlist.h). */
  rmgr: number
  info: number
  /** Of the transaction; 0 for none. */
  xid: number
  /** The whole record with its header; page headers are taken out. */
  bytes: Buffer
}

/** Which records are wanted: the others are passed over without a look at what they hold. */
export type RecordFilter = (rmgr: number, info: number, xid: number) => boolean

/** XLogRecord, and the two headers of pages (PostgreSQL xlogrecord.h, xlog_internal.h): the same from 13 to 18. */
const RECORD_HEADER = 24
const SHORT_PAGE_HEADER = 24
const LONG_PAGE_HEADER = 40
const CONTINUES = 0x0001
const OVERWRITES = 0x0008
const RM_XLOG = 0
const XLOG_SWITCH = 0x40
/** What its header says of a record. */
interface Head {
  length: number
  xid: number
  /** Where the record before it begins. */
  previous: number
  info: number
  rmgr: number
}

/** A record that goes on in the next segment. */
interface Unfinished {
  lsn: number
  /** What is there of it; null for one that is not wanted. */
  parts: Buffer[] | null
  missing: number
}

/**
 * Reads the records of segments that follow each other. A record that goes on in a segment that is not there is left out, as
 * recovery cannot replay it either. Only what links records is looked at, not their checksums: the archive compares every
 * segment with its digest.
 */
export class WalRecords {
  readonly #wanted: RecordFilter
  #unfinished: Unfinished | undefined
  #last: number | undefined

  constructor(wanted: RecordFilter) {
    this.#wanted = wanted
  }

  /** Whether a wanted record goes on in the next segment; also when not enough is there to tell. */
  get isUnfinished(): boolean {
    return this.#unfinished !== undefined && this.#unfinished.parts !== null
  }

  /** Position of the last whole record; null when there was none. */
  get last(): bigint | null {
    return this.#last === undefined ? null : BigInt(this.#last)
  }

  /** @throws NexusError damage `wal_unreadable` for what is no segment */
  *push(segment: Buffer): Generator<WalRecord, void, void> {
    const pages = new Pages(segment)
    let at = pages.begin
    if (pages.continued > 0) {
      const begun = this.#unfinished?.missing === pages.continued ? this.#unfinished : undefined
      const { parts, missing, end, isCut } = pages.take(at, pages.continued, (begun?.parts ?? null) !== null)
      const all = begun?.parts == null ? null : [...begun.parts, ...parts]
      this.#unfinished = undefined
      if (missing > 0 && !isCut) {
        if (begun !== undefined) this.#unfinished = { lsn: begun.lsn, parts: all, missing }
        return
      }
      if (!isCut) yield* this.#ended(begun?.lsn, all)
      at = end
    }
    // One that was begun and does not go on was given up in a crash.
    this.#unfinished = undefined
    yield* this.#records(pages, at)
  }

  *#records(pages: Pages, begin: number): Generator<WalRecord, void, void> {
    for (let at = begin; ; ) {
      const start = pages.nextRecord(at)
      if (start === undefined) return
      const lsn = pages.address + start
      const { head, state } = pages.head(start)
      if (state === 'unfinished') this.#unfinished = { lsn, ...pages.rest(start) }
      if (state === 'cut') at = pages.take(start, RECORD_HEADER, false).end
      if (state === 'cut') continue
      // The end of what was written: a segment that is used again holds older records behind it.
      if (head === undefined || (this.#last !== undefined && head.previous !== this.#last)) return
      const { length, rmgr, info, xid } = head
      const isWanted = this.#wanted(rmgr, info, xid)
      const { parts, missing, end, isCut } = pages.take(start, length, isWanted)
      at = end
      if (isCut) continue
      if (missing > 0) {
        this.#unfinished = { lsn, parts: isWanted ? parts : null, missing }
        return
      }
      this.#last = lsn
      if (isWanted) yield { lsn: BigInt(lsn), rmgr, info, xid, bytes: joined(parts) }
      // Nothing but zeros follows in this segment.
      if (rmgr === RM_XLOG && (info & 0xf0) === XLOG_SWITCH) return
    }
  }

  /** A record that was begun in an earlier segment. @param lsn undefined where that was not read */
  *#ended(lsn: number | undefined, parts: readonly Buffer[] | null): Generator<WalRecord, void, void> {
    this.#last = lsn
    if (lsn === undefined || parts === null) return
    const bytes = joined(parts)
    const head = headOf(bytes)
    if (head === undefined || !this.#wanted(head.rmgr, head.info, head.xid)) return
    yield { lsn: BigInt(lsn), rmgr: head.rmgr, info: head.info, xid: head.xid, bytes }
  }
}

/** What a record holds beside pages: the part that its resource manager wrote itself (PostgreSQL xlogreader.c). */
export function mainData({ bytes }: WalRecord): Buffer {
  for (let at = RECORD_HEADER; at < bytes.length; ) {
    const id = bytes[at] ?? 0
    if (id === 255) return bytes.subarray(bytes.length - (bytes[at + 1] ?? 0))
    if (id === 254) return bytes.subarray(bytes.length - bytes.readUInt32LE(at + 1))
    if (id === 253) at += 3
    else if (id === 252) at += 5
    else break
  }
  return Buffer.alloc(0)
}

interface Taken {
  parts: Buffer[]
  /** Bytes that lie in the next segment. */
  missing: number
  /** Where the next record may begin. */
  end: number
  /** A page begins with something else: the server crashed while it wrote the record. */
  isCut: boolean
}

/** The pages of one segment. Positions are bytes from its beginning. */
class Pages {
  readonly address: number
  /** Where the content of the first page begins. */
  readonly begin = LONG_PAGE_HEADER
  /** Bytes of a record that was begun in an earlier segment. */
  readonly continued: number
  readonly #bytes: Buffer
  readonly #size: number

  constructor(bytes: Buffer) {
    const header = parseWalHeader(bytes)
    // Of a machine of the other byte order no server here could replay anything.
    if (header === undefined || bytes.readUInt16LE(0) !== header.magic) {
      throw new NexusError('damage', 'wal_unreadable', 'a segment of the archive does not begin as one does')
    }
    this.#bytes = bytes
    this.#size = bytes.readUInt32LE(36)
    this.address = Number(header.address)
    const isContinued = (bytes.readUInt16LE(2) & CONTINUES) !== 0
    this.continued = isContinued ? bytes.readUInt32LE(16) : 0
  }

  /** Where the next record begins; undefined at the end of the segment, or of what was written of it. */
  nextRecord(after: number): number | undefined {
    const at = (after + 7) & ~7
    if (at >= this.#bytes.length) return undefined
    if (at % this.#size !== 0) return at
    return this.#isWritten(at) ? at + SHORT_PAGE_HEADER : undefined
  }

  head(at: number): { head?: Head | undefined; state: 'whole' | 'unfinished' | 'cut' } {
    if (at + RECORD_HEADER <= this.#endOfPage(at)) return { head: headOf(this.#bytes, at), state: 'whole' }
    if (this.#bytes.readUInt32LE(at) < RECORD_HEADER) return { state: 'whole' }
    const { parts, missing, isCut } = this.take(at, RECORD_HEADER, true)
    if (isCut) return { state: 'cut' }
    return missing > 0 ? { state: 'unfinished' } : { head: headOf(joined(parts)), state: 'whole' }
  }

  /** A record of which not even the header is whole. */
  rest(at: number): { parts: Buffer[]; missing: number } {
    const length = this.#bytes.readUInt32LE(at)
    const { parts, missing } = this.take(at, length, true)
    return { parts, missing }
  }

  /** Goes over the bytes of a record; what is kept is copied, for the segment's memory is used again. */
  take(from: number, length: number, isKept: boolean): Taken {
    const parts: Buffer[] = []
    let at = from
    for (let missing = length; ; ) {
      const step = Math.min(missing, this.#endOfPage(at) - at)
      if (isKept) parts.push(Buffer.from(this.#bytes.subarray(at, at + step)))
      missing -= step
      at += step
      if (missing === 0 || at >= this.#bytes.length) return { parts, missing, end: at, isCut: false }
      const flags = this.#bytes.readUInt16LE(at + 2)
      if (!this.#isWritten(at) || (flags & CONTINUES) === 0 || (flags & OVERWRITES) !== 0) {
        return { parts, missing, end: at, isCut: true }
      }
      at += SHORT_PAGE_HEADER
    }
  }

  #endOfPage(at: number): number {
    return at - (at % this.#size) + this.#size
  }

  #isWritten(page: number): boolean {
    const bytes = this.#bytes
    if (bytes.readUInt16LE(page) !== bytes.readUInt16LE(0)) return false
    return bytes.readUInt32LE(page + 8) + bytes.readUInt32LE(page + 12) * 0x1_0000_0000 === this.address + page
  }
}

function headOf(bytes: Buffer, at = 0): Head | undefined {
  const length = bytes.readUInt32LE(at)
  if (length < RECORD_HEADER) return undefined
  return {
    length,
    xid: bytes.readUInt32LE(at + 4),
    previous: bytes.readUInt32LE(at + 8) + bytes.readUInt32LE(at + 12) * 0x1_0000_0000,
    info: bytes[at + 16] ?? 0,
    rmgr: bytes[at + 17] ?? 0,
  }
}

function joined(parts: readonly Buffer[]): Buffer {
  const [only, another] = parts
  return only !== undefined && another === undefined ? only : Buffer.concat(parts)
}
