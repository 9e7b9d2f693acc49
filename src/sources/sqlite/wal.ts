import { read as readCallback } from 'node:fs'
import { endianness } from 'node:os'
import { promisify } from 'node:util'

const read = promisify(readCallback)

const HEADER_BYTES = 32
const FRAME_HEADER_BYTES = 24
const MAGIC = 0x377f0682
const VERSION = 3_007_000
const CHUNK_BYTES = 4 * 1024 * 1024

/** The two halves of SQLite's running checksum. */
export type WalChecksum = readonly [number, number]

/** The head of a write-ahead log (SQLite wal.c, "WAL FILE FORMAT"). */
export interface WalHeader {
  pageSize: number
  bigEndianChecksum: boolean
  /** Both salts, as 16 hexadecimal digits: they change whenever the log is started over. */
  salts: string
  checksum: WalChecksum
}

/** Which frame holds the newest content of each page, up to one commit. */
export interface WalIndex {
  /** Page numbers from 1, ascending. */
  pages: Uint32Array
  /** Frame numbers from 1; the same position as the page. */
  frames: Uint32Array
  /** Pages of the database after the smallest of the range's commits; Infinity without a commit. */
  smallest: number
}

/** Reads and checks a log's header; null when there is no valid one, which SQLite takes for an empty log. */
export async function readWalHeader(fd: number): Promise<WalHeader | null> {
  const bytes = Buffer.alloc(HEADER_BYTES)
  const { bytesRead } = await read(fd, bytes, 0, HEADER_BYTES, 0)
  if (bytesRead < HEADER_BYTES) return null
  const magic = bytes.readUInt32BE(0)
  if ((magic & ~1) >>> 0 !== MAGIC || bytes.readUInt32BE(4) !== VERSION) return null
  const bigEndianChecksum = (magic & 1) === 1
  const checksum = walChecksum(bytes.subarray(0, 24), bigEndianChecksum, [0, 0])
  if (checksum[0] !== bytes.readUInt32BE(24) || checksum[1] !== bytes.readUInt32BE(28)) return null
  const pageSize = bytes.readUInt32BE(8)
  return { pageSize, bigEndianChecksum, salts: bytes.toString('hex', 16, 24), checksum }
}

/** Byte position of a frame's page, frames counted from 1. */
export function framePosition(frame: number, pageSize: number): number {
  return HEADER_BYTES + (frame - 1) * (FRAME_HEADER_BYTES + pageSize) + FRAME_HEADER_BYTES
}

/** The running checksum kept in a frame's header, or null when the log is shorter or started over. */
export async function frameChecksum(fd: number, header: WalHeader, frame: number): Promise<WalChecksum | null> {
  if (frame === 0) return header.checksum
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES)
  const { bytesRead } = await read(
    fd,
    bytes,
    0,
    bytes.length,
    framePosition(frame, header.pageSize) - FRAME_HEADER_BYTES,
  )
  if (bytesRead < bytes.length || bytes.toString('hex', 8, 16) !== header.salts) return null
  return [bytes.readUInt32BE(16), bytes.readUInt32BE(20)]
}

/**
 * Walks the frames after `from` up to `to`, verifying salts and the checksum chain, and tells where each page's newest
 * content is. Only the chain proves a frame: after a crash stale frames carry the same salts (anchors/sqlite.md 2,
 * rule 3). Null when the chain breaks or does not end in `end`.
 */
export async function indexWal(
  fd: number,
  header: WalHeader,
  range: { from: number; start: WalChecksum; to: number; end: WalChecksum },
  signal: AbortSignal,
): Promise<WalIndex | null> {
  const frameBytes = FRAME_HEADER_BYTES + header.pageSize
  const keys = new FrameKeys(range.to - range.from)
  let smallest = Number.POSITIVE_INFINITY
  const framesAChunk = Math.max(1, Math.floor(CHUNK_BYTES / frameBytes))
  const chunk = Buffer.alloc(framesAChunk * frameBytes)
  let checksum = range.start
  for (let frame = range.from + 1; frame <= range.to; ) {
    signal.throwIfAborted()
    const count = Math.min(framesAChunk, range.to - frame + 1)
    const position = framePosition(frame, header.pageSize) - FRAME_HEADER_BYTES
    if (!(await readFully(fd, chunk.subarray(0, count * frameBytes), position))) return null
    for (let at = 0; at < count * frameBytes; at += frameBytes) {
      const page = chunk.readUInt32BE(at)
      if (page === 0 || chunk.toString('hex', at + 8, at + 16) !== header.salts) return null
      checksum = walChecksum(chunk.subarray(at, at + 8), header.bigEndianChecksum, checksum)
      checksum = walChecksum(
        chunk.subarray(at + FRAME_HEADER_BYTES, at + frameBytes),
        header.bigEndianChecksum,
        checksum,
      )
      if (checksum[0] !== chunk.readUInt32BE(at + 16) || checksum[1] !== chunk.readUInt32BE(at + 20)) return null
      const pagesAfterCommit = chunk.readUInt32BE(at + 4)
      if (pagesAfterCommit !== 0) smallest = Math.min(smallest, pagesAfterCommit)
      keys.set(frame - range.from - 1, page, frame)
      frame += 1
    }
  }
  if (checksum[0] !== range.end[0] || checksum[1] !== range.end[1]) return null
  return { ...keys.newest(), smallest }
}

/**
 * Pairs of page and frame as one 64-bit number each, page in the upper half: typed arrays sort without a callback.
 * Not as doubles: from page 2^21 on (8 GiB of 4 KiB pages) those lose the lower bits of the frame.
 */
class FrameKeys {
  readonly #keys: BigUint64Array
  readonly #halves: Uint32Array
  readonly #low = endianness() === 'LE' ? 0 : 1

  constructor(count: number) {
    this.#keys = new BigUint64Array(count)
    this.#halves = new Uint32Array(this.#keys.buffer)
  }

  set(position: number, page: number, frame: number): void {
    this.#halves[2 * position + this.#low] = frame
    this.#halves[2 * position + 1 - this.#low] = page
  }

  newest(): { pages: Uint32Array; frames: Uint32Array } {
    this.#keys.sort()
    const pages = new Uint32Array(this.#keys.length)
    const frames = new Uint32Array(this.#keys.length)
    let count = 0
    for (let at = 0; at < this.#halves.length; at += 2) {
      const page = this.#halves[at + 1 - this.#low] ?? 0
      if (count === 0 || pages[count - 1] !== page) count += 1
      pages[count - 1] = page
      frames[count - 1] = this.#halves[at + this.#low] ?? 0
    }
    return { pages: pages.slice(0, count), frames: frames.slice(0, count) }
  }
}

/** SQLite's Fibonacci-weighted checksum over pairs of 32-bit words (wal.c, walChecksumBytes). */
export function walChecksum(bytes: Buffer, bigEndian: boolean, start: WalChecksum): WalChecksum {
  let first = start[0] | 0
  let second = start[1] | 0
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0; at < bytes.length; at += 8) {
    first = (first + view.getInt32(at, !bigEndian) + second) | 0
    second = (second + view.getInt32(at + 4, !bigEndian) + first) | 0
  }
  return [first >>> 0, second >>> 0]
}

async function readFully(fd: number, into: Buffer, position: number): Promise<boolean> {
  let have = 0
  while (have < into.length) {
    const { bytesRead } = await read(fd, into, have, into.length - have, position + have)
    if (bytesRead === 0) return false
    have += bytesRead
  }
  return true
}
