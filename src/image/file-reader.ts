import { open } from 'node:fs/promises'
import type { PartReader } from './types.js'

/** Reads a local file from its beginning to its end, or here and there. Throws the system's error when it cannot be opened. */
export async function fileReader(path: string): Promise<PartReader> {
  const handle = await open(path, 'r')
  const { size } = await handle.stat()
  let position = 0
  const readAt = async (from: number, length: number) => {
    const buffer = Buffer.allocUnsafeSlow(Math.max(0, Math.min(length, size - from)))
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, from)
    return buffer.subarray(0, bytesRead)
  }
  return {
    size,
    async read(length) {
      const bytes = await readAt(position, length)
      position += bytes.length
      return bytes
    },
    readAt,
    close: () => handle.close(),
  }
}
