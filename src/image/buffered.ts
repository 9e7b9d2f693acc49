import type { ByteReader } from './types.js'

const CHUNK_BYTES = 1024 * 1024

/** Reads ahead: an index is thousands of small records, and every read of its own would be a trip to another thread. */
export function buffered(reader: ByteReader): ByteReader {
  let held: Buffer = Buffer.alloc(0)
  return {
    size: reader.size,
    close: () => reader.close(),
    async read(length) {
      while (held.length < length) {
        const more = await reader.read(Math.max(CHUNK_BYTES, length - held.length))
        if (more.length === 0) break
        held = held.length === 0 ? more : Buffer.concat([held, more])
      }
      const bytes = held.subarray(0, length)
      held = held.subarray(bytes.length)
      return bytes
    },
  }
}
