import { lstatSync, readlinkSync, type Stats } from 'node:fs'
import { join } from 'node:path'
import { errnoOf } from '../../errors.js'
import type { Tree } from '../../image/tree/tree.js'
import type { TreeEntry } from '../../image/tree/types.js'
import { bytesOfName, shown } from '../../system/file-names.js'
import { byShortPath } from '../../system/long-paths.js'
import { SIDECAR_SUFFIXES } from '../../system/sidecars.js'
import type { OverwriteRule } from '../requests.js'

/** Times are restored to the microsecond, from a number of seconds that is exact to less than one. */
const TIME_ERROR_SECONDS = 2e-6

const LOG = /-(?:wal|journal)$/

/** What the directory that is merged into has in the place of an entry. */
type Place = 'directory' | 'absent' | 'blocked'

/** Decides entry by entry what a merge writes, from what lies in the directory before anything is read. */
export class MergeRules {
  /** Entries that stay as they are there. */
  left = 0
  /** What cannot be written, since something of another kind is in the way: sentences' ends by path. */
  readonly blocked = new Map<string, string>()
  /** What SQLite keeps beside a database and is as the backup has it. */
  readonly same = new Set<string>()
  readonly #directory: string
  readonly #rule: OverwriteRule
  readonly #tree: Tree
  readonly #places = new Map<string, Place>([['', 'directory']])

  /** @param directory canonical */
  constructor(directory: string, rule: OverwriteRule, tree: Tree) {
    this.#directory = directory
    this.#rule = rule
    this.#tree = tree
  }

  /** Whether an entry is to be written; a directory that is there stays as it is. */
  wants(entry: TreeEntry): boolean {
    const { path, type } = entry
    const above = this.#placeOf(path.slice(0, Math.max(0, path.lastIndexOf('/'))))
    if (above === 'blocked') return false
    if (type === 'directory') return this.#placeOf(path) === 'absent'
    const found = above === 'absent' ? undefined : this.#look(path)
    if (found === undefined) return true
    if (found.isDirectory()) {
      this.blocked.set(path, 'a directory is in its place')
      return false
    }
    const isWanted = this.#overwrites(entry, found)
    if (!isWanted) this.left += 1
    return isWanted
  }

  #overwrites(entry: TreeEntry, found: Stats): boolean {
    switch (this.#rule) {
      case 'always':
        return true
      case 'never':
        return false
      case 'if-newer':
        return entry.mtime > Math.max(found.mtimeMs, ...this.#logsOf(entry.path)) / 1000 + TIME_ERROR_SECONDS
      case 'if-changed': {
        // The times of a database do not tell what stands in a log beside it.
        const isSame = this.#isSame(entry, found) && this.#logsOf(entry.path).length === 0
        if (isSame && LOG.test(entry.path)) this.same.add(entry.path)
        return !isSame
      }
    }
  }

  #isSame(entry: TreeEntry, found: Stats): boolean {
    const first = entry.type === 'hardlink' ? this.#tree.fileNumber(entry.link) : undefined
    const { type, size, mtime, link, path } = first === undefined ? entry : this.#tree.fileEntry(first)
    if (type === 'symlink') {
      const target = found.isSymbolicLink() ? this.#targetOf(path) : null
      return target?.equals(bytesOfName(link)) === true
    }
    const isSameTime = Math.abs(found.mtimeMs / 1000 - mtime) <= TIME_ERROR_SECONDS
    return type === 'file' && found.isFile() && found.size === size && isSameTime
  }

  #targetOf(path: string): Buffer {
    return byShortPath(join(this.#directory, path), at => readlinkSync(at, 'buffer'))
  }

  /** Times of the logs that SQLite keeps beside a database, in milliseconds, but for those that the backup has as well. */
  #logsOf(path: string): number[] {
    return SIDECAR_SUFFIXES.flatMap(suffix => {
      const found = LOG.test(suffix) ? this.#look(path + suffix) : undefined
      if (found === undefined || !found.isFile() || found.size === 0) return []
      const inBackup = this.#tree.fileNumber(path + suffix)
      if (inBackup !== undefined && this.#isSame(this.#tree.fileEntry(inBackup), found)) return []
      return [found.mtimeMs]
    })
  }

  /** No link is followed: what lies behind one is not in the directory. */
  #placeOf(path: string): Place {
    const known = this.#places.get(path)
    if (known !== undefined) return known
    const above = this.#placeOf(path.slice(0, Math.max(0, path.lastIndexOf('/'))))
    const place = above === 'directory' ? this.#kindOf(path) : above
    this.#places.set(path, place)
    return place
  }

  #kindOf(path: string): Place {
    const found = this.#look(path)
    if (found === undefined) return 'absent'
    if (found.isDirectory()) return 'directory'
    const what = found.isSymbolicLink() ? 'a symbolic link, which is not followed,' : 'something that is no directory'
    this.blocked.set(path, `${what} is in its place (${shown(join(this.#directory, path))})`)
    return 'blocked'
  }

  #look(path: string): Stats | undefined {
    try {
      return byShortPath(join(this.#directory, path), at => lstatSync(at))
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined
      throw error
    }
  }
}
