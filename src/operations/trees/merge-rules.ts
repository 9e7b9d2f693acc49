import { lstatSync, readlinkSync, type Stats } from 'node:fs'
import { join } from 'node:path'
import { errnoOf } from '../../errors.js'
import type { Tree } from '../../image/tree/tree.js'
import type { TreeEntry } from '../../image/tree/types.js'
import { bytesOfName, shown } from '../../system/file-names.js'
import { byShortPath } from '../../system/long-paths.js'
import { SIDECAR_SUFFIXES } from '../../system/sidecars.js'
import { TIME_ERROR_MS } from '../../system/times.js'
import type { OverwriteRule } from '../requests.js'
import { databaseOf, mayBeDatabase } from './merge-databases.js'

/** Times are restored to the microsecond, from a number of seconds that is exact to less than one. */
const TIME_ERROR_SECONDS = TIME_ERROR_MS / 1000

const LOG = /-(?:wal|journal)$/

/** What the directory that is merged into has in the place of an entry. */
type Place = 'directory' | 'absent' | 'blocked'

/** Decides entry by entry what a merge writes, from what lies in the directory before anything is read. */
export class MergeRules {
  /** Entries that stay as they are there. */
  left = 0
  /** What cannot be written, since something of another kind is in the way: sentences' ends by path. */
  readonly blocked = new Map<string, string>()
  /** Entries that are not there, and files in the place of others; what those take now stays, beside the directory. */
  created = 0
  replaced = 0
  bytesReplaced = 0
  readonly #directory: string
  readonly #rule: OverwriteRule
  readonly #tree: Tree
  readonly #places = new Map<string, Place>([['', 'directory']])
  /** Devices of the directories that are there, by path, and what is copied to those on other file systems. */
  readonly #devices = new Map<string, number>()
  readonly #copies = new Map<number, { directory: string; bytes: number }>()
  /** Bytes of what is replaced there, which is copied to be kept. */
  #copiedBack = 0

  /** @param directory canonical */
  constructor(directory: string, rule: OverwriteRule, tree: Tree) {
    this.#directory = directory
    this.#rule = rule
    this.#tree = tree
  }

  /** Whether an entry is to be written; a directory that is there stays as it is. To be asked once for each. */
  wants(entry: TreeEntry): boolean {
    const { path, type } = entry
    const above = this.#placeOf(parentOf(path))
    if (above === 'blocked') return false
    if (type === 'directory') {
      const isNew = this.#placeOf(path) === 'absent'
      if (isNew) this.created += 1
      return isNew
    }
    const found = above === 'absent' ? undefined : this.#look(path)
    if (found?.isDirectory() === true) {
      this.blocked.set(path, 'a directory is in its place')
      return false
    }
    const isWanted = this.#together(entry, found)
    if (isWanted) this.#count(entry, found)
    else this.left += 1
    return isWanted
  }

  /** What is copied to other file systems than the one that it is staged on. @param staging directory there */
  copies(staging: string): { directory: string; bytes: number }[] {
    const elsewhere = [...this.#copies.values()]
    return [...elsewhere, { directory: staging, bytes: this.#copiedBack }]
  }

  #count({ path, size, sparse }: TreeEntry, found: Stats | undefined): void {
    if (found === undefined) this.created += 1
    else this.replaced += 1
    this.bytesReplaced += found?.size ?? 0
    const device = this.#deviceOf(parentOf(path))
    if (device === this.#deviceOf('')) return
    const known = this.#copies.get(device)
    const directory = known?.directory ?? join(this.#directory, this.#thereAbove(path))
    this.#copies.set(device, { directory, bytes: (known?.bytes ?? 0) + (sparse ? 0 : size) })
    this.#copiedBack += found?.size ?? 0
  }

  /** The directory around a path that is there. */
  #thereAbove(path: string): string {
    const above = parentOf(path)
    return above === '' || this.#placeOf(above) === 'directory' ? above : this.#thereAbove(above)
  }

  #deviceOf(directory: string): number {
    const known = this.#devices.get(directory)
    if (known !== undefined) return known
    const there = directory === '' || this.#placeOf(directory) === 'directory'
    const device = there
      ? byShortPath(join(this.#directory, directory), at => lstatSync(at)).dev
      : this.#deviceOf(parentOf(directory))
    this.#devices.set(directory, device)
    return device
  }

  /** A database and its logs are wanted together: one of them beside another state of the others is damage. */
  #together(entry: TreeEntry, found: Stats | undefined): boolean {
    const isWanted = this.#single(entry, found)
    if (this.#rule === 'always' || (entry.type !== 'file' && entry.type !== 'hardlink')) return isWanted
    const { path } = entry
    const base = databaseOf(path)
    const database = base === undefined ? undefined : this.#fileOf(base)
    if (database !== undefined) {
      const there = this.#look(database.path)
      if (there !== undefined && this.#rule === 'if-changed' && this.#isCompleted(database, there)) return false
      if (this.#single(database, there)) return true
      const isTheirs = there !== undefined && mayBeDatabase(join(this.#directory, database.path))
      return isWanted && (!isTheirs || this.#rule === 'if-changed')
    }
    if (isWanted || found === undefined || this.#rule !== 'if-changed') return isWanted
    const logs = SIDECAR_SUFFIXES.flatMap(suffix => this.#fileOf(path + suffix) ?? [])
    if (this.#isCompleted(entry, found)) return false
    const isPulled = logs.some(log => this.#single(log, this.#look(log.path)))
    return isPulled && mayBeDatabase(join(this.#directory, path))
  }

  #fileOf(path: string): TreeEntry | undefined {
    const number = this.#tree.fileNumber(path)
    return number === undefined ? undefined : this.#tree.fileEntry(number)
  }

  /** Whether the rule alone wants it. */
  #single(entry: TreeEntry, found: Stats | undefined): boolean {
    if (found === undefined) return true
    switch (this.#rule) {
      case 'always':
        return true
      case 'never':
        return false
      case 'if-newer':
        return this.#timeOf(entry) > Math.max(found.mtimeMs, ...this.#logsOf(entry.path)) / 1000 + TIME_ERROR_SECONDS
      case 'if-changed':
        // The times of a database do not tell what stands in a log beside it.
        if (this.#logsOf(entry.path).length > 0) return true
        return !this.#isSame(entry, found) && !this.#isCompleted(entry, found)
    }
  }

  /** When a file was last written to, in seconds; what SQLite writes to a log counts as written to its database. */
  #timeOf({ path, mtime }: TreeEntry): number {
    return Math.max(mtime, ...this.#logsInBackup(path).map(log => log.mtime))
  }

  #logsInBackup(path: string): TreeEntry[] {
    const logs = SIDECAR_SUFFIXES.filter(suffix => LOG.test(suffix)).flatMap(
      suffix => this.#fileOf(path + suffix) ?? [],
    )
    return logs.filter(({ size }) => size > 0)
  }

  /** Whether an earlier merge has put a database there that was completed by the logs which the backup has beside it. */
  #isCompleted(entry: TreeEntry, found: Stats): boolean {
    if (this.#logsInBackup(entry.path).length === 0 || this.#logsOf(entry.path).length > 0) return false
    const isTime = Math.abs(found.mtimeMs / 1000 - this.#timeOf(entry)) <= TIME_ERROR_SECONDS
    return isTime && mayBeDatabase(join(this.#directory, entry.path))
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
    const above = this.#placeOf(parentOf(path))
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
      if (['ENOENT', 'ENOTDIR', 'ENAMETOOLONG'].includes(errnoOf(error) ?? '')) return undefined
      throw error
    }
  }
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')))
}
