import { segmentStart } from '../../../src/sources/postgres/wal-names.js'

export const system = '7123456789012345678'

/** The beginning of a control file of PostgreSQL 15. */
export function controlBytes(systemIdentifier = system, version = 1300, little = true): Buffer {
  const bytes = Buffer.alloc(64)
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  view.setBigUint64(0, BigInt(systemIdentifier), little)
  view.setUint32(8, version, little)
  view.setUint32(12, 202209061, little)
  return bytes
}

export interface SegmentWishes {
  magic?: number
  timeline?: number
  systemIdentifier?: string
  segmentBytes?: number
  /** Bytes that the file really has. */
  bytes?: number
  little?: boolean
  fill?: number
}

/** A segment with a header like the server's, and the same byte all over. */
export function segmentBytes(number: number, wishes: SegmentWishes = {}): Buffer {
  const {
    magic = 0xd110,
    timeline = 1,
    systemIdentifier = system,
    segmentBytes: size = 2 ** 20,
    little = true,
  } = wishes
  const bytes = Buffer.alloc(wishes.bytes ?? size, wishes.fill ?? 7)
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  view.setUint16(0, magic, little)
  view.setUint16(2, 0x0002, little)
  view.setUint32(4, timeline, little)
  view.setBigUint64(8, segmentStart(number, size), little)
  view.setBigUint64(24, BigInt(systemIdentifier), little)
  view.setUint32(32, size, little)
  return bytes
}
