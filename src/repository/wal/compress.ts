import binding from 'zstd-napi/binding.js'
import { messageOf } from '../../errors.js'

/** Like the frames of a backup: the disk is the floor, not the ratio (design section 8). */
const LEVEL = 1

/** Kept between calls: a new one of a segment's size costs as much as hashing it. */
let packer: { context: InstanceType<typeof binding.CCtx>; room: Buffer } | undefined

/** One zstd frame, after so many bytes that are left free for a header. */
export function compressedAfter(head: number, plain: Uint8Array): Buffer {
  const bound = binding.compressBound(plain.byteLength)
  if (packer === undefined || packer.room.byteLength < bound) {
    packer = { context: packer?.context ?? new binding.CCtx(), room: Buffer.allocUnsafeSlow(bound) }
  }
  const length = packer.context.compress(packer.room, plain, LEVEL)
  const file = Buffer.allocUnsafeSlow(head + length)
  packer.room.copy(file, head, 0, length)
  return file
}

/** The plain bytes of frames that must give exactly so many. Throws a plain Error with a sentence. */
export function decompressed(stored: Uint8Array, bytes: number): Buffer {
  const plain = Buffer.allocUnsafeSlow(bytes)
  let length: number
  try {
    length = new binding.DCtx().decompress(plain, stored)
  } catch (cause) {
    throw new Error(`its content cannot be decompressed: ${messageOf(cause)}`, { cause })
  }
  if (length !== bytes) throw new Error(`its content has ${length} bytes instead of ${bytes}`)
  return plain
}
