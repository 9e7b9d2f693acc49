import { statfsSync } from 'node:fs'
import { errnoOf, NexusError } from '../../errors.js'

/** A disk that a database is restored to has no room. @param why what was wanted of it */
export function diskFull(directory: string, why: string, cause?: unknown): NexusError {
  return new NexusError('failed', 'disk_full', `no room to restore in ${directory}: ${why}`, {
    hint: 'nothing was replaced; free space there or restore to another disk with --to PATH',
    cause,
  })
}

/**
 * Runs work that writes into directories; a full disk is told with its name, which the system does not give: the one that
 * has the least space left.
 */
export async function namingFullDisk<T>(directories: readonly string[], work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const errno = errnoOf(error instanceof NexusError ? error.cause : error)
    if (errno !== 'ENOSPC' && errno !== 'EDQUOT') throw error
    const known = (directory: string) => error instanceof NexusError && error.message.includes(directory)
    if (error instanceof NexusError && error.code === 'disk_full' && directories.some(known)) throw error
    const [directory = ''] = [...directories].sort((a, b) => freeAt(a) - freeAt(b))
    throw diskFull(directory, errno === 'EDQUOT' ? 'the quota is used up' : 'it filled up meanwhile', error)
  }
}

function freeAt(directory: string): number {
  try {
    const { bavail, bsize } = statfsSync(directory)
    return bavail * bsize
  } catch {
    return Number.POSITIVE_INFINITY
  }
}
