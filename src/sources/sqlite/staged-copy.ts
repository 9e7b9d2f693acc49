import { read as readCallback } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const read = promisify(readCallback)
const CHUNK_BYTES = 4 * 1024 * 1024

/** Name of the copy within the staging directory. */
export const STAGED_NAME = 'staged.db'

/**
 * Copies `size` bytes of an open file to a new file in `directory` and returns its path. Written out by hand because
 * a library's copy opens and closes the source itself, and closing any descriptor of a database drops this process's
 * locks on it (anchors/sqlite.md 2, rule 6).
 */
export async function stageCopy(fd: number, size: number, directory: string, signal: AbortSignal): Promise<string> {
  const path = join(directory, STAGED_NAME)
  const target = await open(path, 'w', 0o600)
  try {
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES)
    for (let at = 0; at < size; ) {
      signal.throwIfAborted()
      const { bytesRead } = await read(fd, chunk, 0, Math.min(chunk.length, size - at), at)
      if (bytesRead === 0) throw new Error(`the database ends at byte ${at}: it became shorter while being copied`)
      await target.writeFile(chunk.subarray(0, bytesRead))
      at += bytesRead
    }
  } finally {
    await target.close()
  }
  return path
}
