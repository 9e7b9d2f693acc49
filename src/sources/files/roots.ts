import { type BigIntStats, realpathSync, statSync } from 'node:fs'
import { errnoOf, messageOf, NexusError } from '../../errors.js'
import { nothingOwn, type OwnDirectories } from './own-directories.js'
import { isSpecialFileSystem } from './special-file-systems.js'

/** A configured directory or file that is there. */
export interface Root {
  /** As configured. */
  path: string
  /** The same without symbolic links: a root that is a link stands for what it leads to. */
  location: string
  stats: BigIntStats
}

/**
 * Looks at every configured root. One that is missing is an error and never an empty backup: a disk that is not mounted
 * looks like that.
 *
 * @throws NexusError `not-found` (`source_missing`), `refused` (`source_special`, `source_is_own`), `failed`
 *   (`source_unreadable`)
 */
export function findRoots(
  { name, paths }: { name: string; paths: readonly string[] },
  own: OwnDirectories = nothingOwn,
): Root[] {
  return paths.map(path => {
    const root = look(name, path)
    const { stats, location } = root
    if (!(stats.isDirectory() || stats.isFile()) || (stats.isDirectory() && isSpecialFileSystem(location))) {
      throw new NexusError('refused', 'source_special', `${name}: ${path} holds no files that could be backed up`, {
        hint: 'name directories or files in paths; sockets, devices, /proc and /sys have no content of their own',
      })
    }
    const around = own.around(location)
    if (around !== null) throw isOwn(name, path, around)
    return root
  })
}

function isOwn(name: string, path: string, around: { path: string; what: string }): NexusError {
  const where = around.path === path ? `is ${around.what}` : `lies in ${around.what}: ${around.path}`
  return new NexusError('refused', 'source_is_own', `${name}: ${path} ${where}, which is never backed up as files`, {
    hint: 'name other directories in paths; backups get into another repository with copies: and nexus-backup copy',
  })
}

function look(name: string, path: string): Root {
  try {
    const location = realpathSync(path)
    return { path, location, stats: statSync(location, { bigint: true }) }
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === 'ENOENT' || errno === 'ENOTDIR') {
      throw new NexusError('not-found', 'source_missing', `${name}: there is no ${path}`, {
        hint: `see whether its disk is mounted: findmnt --target ${path}; no backup was made`,
        cause: error,
      })
    }
    throw new NexusError('failed', 'source_unreadable', `${name}: ${path} cannot be looked at: ${messageOf(error)}`, {
      hint: 'run as root or as the user whose files they are',
      cause: error,
    })
  }
}
