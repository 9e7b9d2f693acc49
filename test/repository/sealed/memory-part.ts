import { createHash } from 'node:crypto'
import type { PartWriter, SequentialReader } from '../../../src/repository/storage/storage.js'

/** A part that is written into memory. */
export function memoryPart(name = 'part'): { writer: PartWriter; bytes(): Buffer } {
  const chunks: Buffer[] = []
  return {
    bytes: () => Buffer.concat(chunks),
    writer: {
      write: async bytes => void chunks.push(Buffer.from(bytes)),
      close: async () => {
        const whole = Buffer.concat(chunks)
        return { name, bytes: whole.length, sha256: createHash('sha256').update(whole).digest('hex') }
      },
    },
  }
}

/** Reads from memory as a storage's reader does. */
export function memoryReader(bytes: Buffer): SequentialReader {
  let position = 0
  return {
    size: bytes.length,
    read: async length => {
      const piece = Buffer.from(bytes.subarray(position, position + length))
      position += piece.length
      return piece
    },
    readAt: async (from, length) => Buffer.from(bytes.subarray(from, from + length)),
    close: async () => {},
  }
}
