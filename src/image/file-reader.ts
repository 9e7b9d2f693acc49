import { open } from 'node:fs/promises'
import type { ByteReader } from './types.js'

/** Reads a local file from its beginning to its end. Throws the system's error when it cannot be opened. */
export async function fileReader(path: string): Promise<ByteReader> {
  const handle = await open(path, 'r')
  const { size } = await handle.stat()
  let position = 0
  return {
    size,
    async read(length) {
      const buffer = Buffer.allocUnsafeSlow(Math.min(length, size - position))
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, position)
      position += bytesRead
      return buffer.subarray(0, bytesRead)
    },
    close: () => handle.close(),
  }
}
