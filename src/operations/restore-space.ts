import { statfs } from 'node:fs/promises'
import { diskFull } from '../sources/sqlite/disk-full.js'

/**
 * Refuses to begin a restore that cannot end. @param bytes of the image
 * @throws NexusError `failed` (`disk_full`)
 */
export async function assertSpace(directory: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory)
  const free = bavail * bsize
  if (free >= bytes) return
  throw diskFull(directory, `${Math.ceil(bytes / 1e6)} MB are needed and ${Math.floor(free / 1e6)} MB are free`)
}
