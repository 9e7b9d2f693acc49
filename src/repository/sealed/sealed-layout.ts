/**
 * A sealed file, format 1: a header, then the plain bytes cut into frames of one size, each encrypted by itself and
 * followed by its tag. Written down for a second implementation in nexus-backup-repository(5).
 */
const MAGIC = Buffer.from('NXBKSEA1', 'latin1')
export const HEADER_BYTES = 16
export const TAG_BYTES = 16
/** Plain bytes of a frame: many enough that the tags weigh nothing, few enough that a reader holds one without noticing. */
export const FRAME_BYTES = 1024 * 1024
/** Bounds of what a header may claim: it is input from outside. */
const LEAST_FRAME_BYTES = 16
const MOST_FRAME_BYTES = 16 * 1024 * 1024

/** Ends the names of sealed files. */
export const sealedSuffix = '.enc'

/** What each frame is bound to besides its key, its number and whether it is the last. */
export function associatedData(header: Buffer, context: string): Buffer {
  return Buffer.concat([header, Buffer.from(context)])
}

/** The nonce of a frame: its number, and whether it is the last. A key seals one file only, so none comes twice. */
export function frameNonce(number: number, last: boolean): Buffer {
  const nonce = Buffer.alloc(12)
  nonce.writeBigUInt64BE(BigInt(number), 3)
  nonce[11] = last ? 1 : 0
  return nonce
}

export function formatHeader(frameBytes: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  MAGIC.copy(header)
  header.writeUInt32LE(frameBytes, 8)
  return header
}

/** Plain bytes of each frame as a header says, or undefined for one that is none. */
export function parseHeader(header: Buffer): number | undefined {
  if (header.length !== HEADER_BYTES || !header.subarray(0, 8).equals(MAGIC)) return undefined
  const frameBytes = header.readUInt32LE(8)
  if (frameBytes < LEAST_FRAME_BYTES || frameBytes > MOST_FRAME_BYTES) return undefined
  return formatHeader(frameBytes).equals(header) ? frameBytes : undefined
}

/** Bytes that so many plain ones take when they are sealed; there is always a last frame, be it empty. */
export function sealedSize(plainBytes: number, frameBytes = FRAME_BYTES): number {
  return HEADER_BYTES + plainBytes + TAG_BYTES * Math.max(1, Math.ceil(plainBytes / frameBytes))
}

/** Plain bytes in a sealed file of this size; undefined where no file has that size. */
export function plainSize(sealedBytes: number, frameBytes = FRAME_BYTES): number | undefined {
  const body = sealedBytes - HEADER_BYTES
  const plain = body - TAG_BYTES * Math.ceil(body / (frameBytes + TAG_BYTES))
  return plain >= 0 && sealedSize(plain, frameBytes) === sealedBytes ? plain : undefined
}
