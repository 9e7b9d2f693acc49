import { readSync } from 'node:fs'
import { endianness } from 'node:os'
import type { WalChecksum } from './wal.js'

const HEADER_BYTES = 48
const BACKFILL_AT = 2 * HEADER_BYTES

/** The state of a write-ahead log as its readers share it: the head of the `-shm` file (SQLite wal.c, "WAL-INDEX FORMAT"). */
export interface WalIndexHeader {
  /** The header's bytes, to tell whether anything was committed in between. */
  raw: Buffer
  /** Number of the last committed frame. */
  frame: number
  checksum: WalChecksum
  salts: string
  /** Frames already copied into the database file. */
  backfilled: number
}

/**
 * Reads the header of an open `-shm` file; null while a writer is changing it (its two copies differ).
 * Its numbers are in the byte order of the machine, the salts in that of the log.
 */
export function readWalIndexHeader(fd: number): WalIndexHeader | null {
  const bytes = Buffer.alloc(BACKFILL_AT + 4)
  if (readSync(fd, bytes, 0, bytes.length, 0) < bytes.length) return null
  const raw = bytes.subarray(0, HEADER_BYTES)
  if (!raw.equals(bytes.subarray(HEADER_BYTES, BACKFILL_AT))) return null
  const word = endianness() === 'LE' ? (at: number) => bytes.readUInt32LE(at) : (at: number) => bytes.readUInt32BE(at)
  return {
    raw,
    frame: word(16),
    checksum: [word(24), word(28)],
    salts: bytes.toString('hex', 32, 40),
    backfilled: word(BACKFILL_AT),
  }
}
