import { stat, statfs } from 'node:fs/promises'
import { diskFull } from '../sources/sqlite/disk-full.js'
import { fsPath } from '../system/file-names.js'

/**
 * Refuses to begin a restore that cannot end. @param bytes of the image
 * @throws NexusError `failed` (`disk_full`)
 */
export async function assertSpace(directory: string, bytes: number): Promise<void> {
  await assertSpaceAt([{ directory, bytes }])
}

/**
 * The same for what is written to several directories; those of one file system share its space.
 *
 * @throws NexusError `failed` (`disk_full`) naming the directories of the first file system that is too small
 */
export async function assertSpaceAt(needs: readonly { directory: string; bytes: number }[]): Promise<void> {
  const disks = new Map<number, { directories: Set<string>; bytes: number }>()
  for (const { directory, bytes } of needs) {
    const { dev } = await stat(fsPath(directory))
    const known = disks.get(dev) ?? { directories: new Set(), bytes: 0 }
    disks.set(dev, known)
    known.directories.add(directory)
    known.bytes += bytes
  }
  for (const { directories, bytes } of disks.values()) {
    const [first = ''] = directories
    const { bavail, bsize } = await statfs(fsPath(first))
    const free = bavail * bsize
    if (free >= bytes) continue
    const where = [...directories].join(', ')
    throw diskFull(where, `${Math.ceil(bytes / 1e6)} MB are needed and ${Math.floor(free / 1e6)} MB are free`)
  }
}
