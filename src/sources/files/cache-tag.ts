import { closeSync, constants, fstatSync, readSync } from 'node:fs'
import { liesAt, openQuietly } from './open-file.js'

/** The file that marks a directory of a cache (the Cache Directory Tagging Specification). */
export const cacheTag = 'CACHEDIR.TAG'

const SIGNATURE = Buffer.from('Signature: 8a477f597d28d172789f06886806bc55', 'latin1')
const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/**
 * Whether the tag of a directory is a regular file that begins with the signature. One that cannot be read makes no cache:
 * what is backed up needlessly is no loss.
 *
 * @param location real path of the directory
 */
export function isCacheDirectory(location: string): boolean {
  const path = `${location === '/' ? '' : location}/${cacheTag}`
  let fd: number | undefined
  try {
    fd = openQuietly(path, FLAGS)
    if (!fstatSync(fd).isFile() || !liesAt(fd, path)) return false
    const bytes = Buffer.alloc(SIGNATURE.length)
    return readSync(fd, bytes, 0, bytes.length, 0) === bytes.length && bytes.equals(SIGNATURE)
  } catch {
    return false
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}
