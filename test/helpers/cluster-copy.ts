import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Flag of a page header that has the system identifier (PostgreSQL, access/xlog_internal.h). */
const XLP_LONG_HEADER = 2

/**
 * Gives the copy of a stopped cluster a system identifier of its own, as initdb would have: in its control file and at
 * the head of each WAL segment.
 */
export function giveNewIdentity(directory: string): void {
  const path = join(directory, 'global/pg_control')
  const control = readFileSync(path)
  const before = control.readBigUInt64LE(0)
  const identity = (BigInt(Math.floor(Date.now() / 1000)) << 32n) | BigInt(randomBytes(4).readUInt32LE())
  const crcAt = positionOfCrc(control)
  control.writeBigUInt64LE(identity, 0)
  control.writeUInt32LE(crc32c(control.subarray(0, crcAt)), crcAt)
  writeFileSync(path, control)
  for (const name of readdirSync(join(directory, 'pg_wal'))) {
    if (!/^[0-9A-F]{24}$/.test(name)) continue
    const segment = readFileSync(join(directory, 'pg_wal', name))
    // Segments that are kept for later have none yet, or that of their former name.
    if ((segment.readUInt16LE(2) & XLP_LONG_HEADER) === 0 || segment.readBigUInt64LE(24) !== before) continue
    segment.writeBigUInt64LE(identity, 24)
    writeFileSync(join(directory, 'pg_wal', name), segment)
  }
}

/** The checksum follows the fields, of which each version has more. */
function positionOfCrc(control: Buffer): number {
  for (let at = 200; at <= 500; at += 4) {
    if (crc32c(control.subarray(0, at)) === control.readUInt32LE(at)) return at
  }
  throw new Error('pg_control holds no checksum where one is known')
}

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte
  for (let bit = 0; bit < 8; bit += 1) value = (value & 1) === 0 ? value >>> 1 : (value >>> 1) ^ 0x82f63b78
  return value
})

function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) crc = (crc >>> 8) ^ (table[(crc ^ byte) & 0xff] ?? 0)
  return (crc ^ 0xffffffff) >>> 0
}
