import { createHash } from 'node:crypto'
import binding from 'zstd-napi/binding.js'
import { messageOf } from '../../errors.js'

/** Like the frames of a backup: the disk is the floor, not the ratio (design section 8). */
const LEVEL = 1

/** A file ready to be stored. */
export interface Packed {
  /** Of the plain bytes, lower-case hexadecimal. */
  sha256: string
  /** One zstd frame. */
  stored: Uint8Array<ArrayBuffer>
  storedSha256: string
}

/** Kept between calls: a new one of a segment's size costs as much as hashing it. */
let packer: { context: InstanceType<typeof binding.CCtx>; room: Buffer } | undefined

/** Compresses and hashes a file. */
export function packed(plain: Uint8Array): Packed {
  const bound = binding.compressBound(plain.byteLength)
  if (packer === undefined || packer.room.byteLength < bound) {
    packer = { context: packer?.context ?? new binding.CCtx(), room: Buffer.allocUnsafeSlow(bound) }
  }
  const length = packer.context.compress(packer.room, plain, LEVEL)
  const stored = new Uint8Array(length)
  stored.set(packer.room.subarray(0, length))
  return { sha256: sha256Of(plain), stored, storedSha256: sha256Of(stored) }
}

/**
 * The plain bytes of frames that must give exactly so many. Throws a plain Error with a sentence.
 * @param room memory for them where it has that very size
 */
export function unpacked(stored: Uint8Array, bytes: number, room?: Buffer): Buffer {
  const plain = room?.byteLength === bytes ? room : Buffer.allocUnsafeSlow(bytes)
  let length: number
  try {
    length = new binding.DCtx().decompress(plain, stored)
  } catch (cause) {
    throw new Error(`its content cannot be decompressed: ${messageOf(cause)}`, { cause })
  }
  if (length !== bytes) throw new Error(`its content has ${length} bytes instead of ${bytes}`)
  return plain
}

/** SHA-256 in lower-case hexadecimal. */
export function sha256Of(bytes: string | Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
