import { nameOf } from '../../system/file-names.js'
import { badArchive } from './tar-error.js'
import type { Device } from './types.js'

export const TAR_BLOCK = 512

/** The fields of a ustar header block as they stand there (POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar, "Standard"). */
export interface TarHeader {
  name: string
  mode: number
  uid: number
  gid: number
  size: number
  mtime: number
  type: string
  link: string
  owner: string
  group: string
  device: Device
}

/** Reads a header block. @throws NexusError `failed` when its checksum or a field is wrong */
export function readTarHeader(block: Buffer): TarHeader {
  if (!checksumFits(block)) throw badArchive('is garbled: the checksum of a header is wrong')
  const magic = block.toString('latin1', 257, 263)
  // "ustar " is GNU's older form: other fields stand where the standard has the prefix.
  const prefix = magic === 'ustar\0' ? text(block, 345, 155) : ''
  const name = text(block, 0, 100)
  const named = magic.startsWith('ustar')
  const type = String.fromCharCode(block[156] ?? 0)
  const isDevice = named && (type === '3' || type === '4')
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    mode: number(block, 100, 8) & 0o7777,
    uid: number(block, 108, 8),
    gid: number(block, 116, 8),
    size: number(block, 124, 12),
    mtime: number(block, 136, 12),
    type,
    link: text(block, 157, 100),
    owner: named ? text(block, 265, 32) : '',
    group: named ? text(block, 297, 32) : '',
    device: isDevice ? { major: number(block, 329, 8), minor: number(block, 337, 8) } : { major: 0, minor: 0 },
  }
}

function text(block: Buffer, at: number, length: number): string {
  const field = block.subarray(at, at + length)
  const end = field.indexOf(0)
  return nameOf(end < 0 ? field : field.subarray(0, end))
}

/** Octal digits, or base 256 when the first bit is set (GNU). */
function number(block: Buffer, at: number, length: number): number {
  const first = block[at] ?? 0
  if ((first & 0x80) !== 0) return base256(block.subarray(at, at + length))
  const digits = /^ *([0-7]*)[ \0]*$/.exec(block.toString('latin1', at, at + length))?.[1]
  if (digits === undefined) throw badArchive('is garbled: a number in a header is none')
  return digits === '' ? 0 : Number.parseInt(digits, 8)
}

/** Two's complement, the marker bit apart. */
function base256(bytes: Buffer): number {
  const first = bytes[0] ?? 0
  const negative = (first & 0x40) !== 0
  let value = BigInt(first & 0x3f) - (negative ? 64n : 0n)
  for (const byte of bytes.subarray(1)) value = value * 256n + BigInt(byte)
  const result = Number(value)
  if (!Number.isSafeInteger(result)) throw badArchive('is garbled: a number in a header is too large')
  return result
}

function checksumFits(block: Buffer): boolean {
  let unsigned = 8 * 0x20
  let signed = unsigned
  for (let at = 0; at < TAR_BLOCK; at += 1) {
    if (at >= 148 && at < 156) continue
    const byte = block[at] ?? 0
    unsigned += byte
    signed += byte < 128 ? byte : byte - 256
  }
  const stated = number(block, 148, 8)
  return stated === unsigned || stated === signed
}
