import { type BigIntStats, lstatSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { reasonOf } from '../../errors.js'
import { nameOf, shown } from '../../system/file-names.js'
import { mountPointOf, mountPoints } from '../../system/mounts.js'
import { cacheTag, isCacheDirectory } from './cache-tag.js'
import { deviceNumbers, deviceOf, type Found, fileIdentityOf, foundStats, typeOf } from './found.js'
import { type Listed, type Listing, listDirectory } from './list-directory.js'
import { nothingOwn, type OwnDirectories } from './own-directories.js'
import { type Candidate, compilePatterns, type Patterns } from './patterns.js'
import type { Remarks } from './remarks.js'
import type { Root } from './roots.js'
import { isSpecialFileSystem } from './special-file-systems.js'

/** Characters of a path in the archive. The kernel takes fewer in one call, and sets no limit to how deep directories lie. */
const MOST_PATH = 16_384

/** Directories after which a signal gets its turn. */
const TURN = 64

export interface WalkRules {
  /** Left out, a directory with all that it holds. */
  exclude: readonly string[]
  /** Taken all the same, a directory with all that it holds; the directories on the way to it come with it. */
  include: readonly string[]
  /** Leave out the content of what is mounted below a root. Default false. */
  oneFileSystem?: boolean
  /** Leave out the content of directories that hold a valid CACHEDIR.TAG. Default false. */
  excludeCaches?: boolean
  /** Leave out the content of directories that hold an entry of one of these names. Default none. */
  excludeIfPresent?: readonly string[]
}

/** `forced`: an include pattern took it or a directory above it. `out`: left out, but it may hold what is forced. */
type State = 'taken' | 'forced' | 'out'

/** A directory at which a file system begins, or a root: all below it lies there, up to the next one. */
export interface FileSystemPlace {
  /** Name in the archive; empty for `/`. */
  path: string
  /** Real path. */
  location: string
  /** The device's number. */
  device: string
  /** Where the file system is mounted, a real path; empty where the system does not tell. */
  mount: string
  /** When the directory that is mounted there was made, for numbers of devices are given away again; empty when unknown. */
  born: string
}

export interface WalkSurroundings {
  remarks: Remarks
  signal: AbortSignal
  own?: OwnDirectories
}

/**
 * Everything that belongs into a backup of some roots, a directory before what it holds. Symbolic links are not followed;
 * mounted file systems are, unless the rules leave them out, but for those of the kernel (/proc, /sys). Of a directory
 * whose content the rules leave out the directory itself and its mark are taken; include patterns are stronger than marks.
 * Directories of this program are left out, and that
 * is said. What is unreadable is a problem, never silence.
 *
 * @param take is given each of them, in order
 * @returns the file systems that they lie on
 * @throws NexusError `configuration` (`pattern_invalid`)
 */
export async function walk(
  roots: readonly Root[],
  rules: WalkRules,
  { remarks, signal, own = nothingOwn }: WalkSurroundings,
  take: (found: Found) => void,
): Promise<FileSystemPlace[]> {
  const walker = new Walker(rules, { remarks, own }, take)
  for (const root of roots) {
    const stats = root.stats
    const entry = { name: '', location: root.location, stats }
    const path = root.path === '/' ? '' : root.path
    if (stats.isDirectory()) await walker.directory(entry, { root: path, path, state: 'taken', device: null }, signal)
    else walker.take(entry, path)
  }
  return walker.places
}

interface Place {
  /** Absolute path of the root; '' for `/`. */
  root: string
  /** Absolute path as configured; '' for `/`. */
  path: string
  state: State
  /** Device of the directory above; null for a root. */
  device: bigint | null
}

/** Why the content of a directory is left out, and the entry in it that says so. */
interface Mark {
  kind: 'cache' | 'marker'
  name: string
}

class Walker {
  readonly #rules: WalkRules
  readonly #excludes: Patterns
  readonly #includes: Patterns
  readonly #remarks: Remarks
  readonly #own: OwnDirectories
  readonly #mounts = mountPoints()
  readonly places: FileSystemPlace[] = []
  /** Path of the first name of everything that has several. */
  readonly #names = new Map<string, string>()
  /** Directories that come into the backup only when something below them does. */
  readonly #waiting: Found[] = []
  readonly #found: (found: Found) => void
  #directories = 0

  constructor(
    rules: WalkRules,
    { remarks, own }: { remarks: Remarks; own: OwnDirectories },
    found: (found: Found) => void,
  ) {
    this.#found = found
    this.#own = own
    this.#rules = rules
    this.#excludes = compilePatterns(rules.exclude)
    this.#includes = compilePatterns(rules.include)
    this.#remarks = remarks
  }

  async directory(entry: Listed, place: Place, signal: AbortSignal): Promise<void> {
    this.#directories += 1
    if (this.#directories % TURN === 0) await setImmediate()
    signal.throwIfAborted()
    if (this.#isOwn({ stats: entry.stats, entries: [] }, entry.location)) return
    const mounted = this.#isMountLeftOut(entry, place)
    const listing = mounted || this.#isSpecial(entry, place) ? null : listDirectory(entry.location, this.#remarks)
    if (listing !== null && this.#isOwn(listing, entry.location)) return
    // What was listed may be another directory than the one found before it.
    const stats = listing?.stats ?? entry.stats
    const mark = listing === null || place.state !== 'taken' ? null : this.#markOf(listing, entry.location)
    const marked = mark !== null && this.#minds(mark, entry.location, place)
    const leftOut = mounted ? 'mount' : marked ? mark.kind : undefined
    const itself = directoryOf({ location: entry.location, stats }, place.path, leftOut)
    if (place.state === 'out') this.#waiting.push(itself)
    else if (place.path !== '') this.#add(itself)
    this.#note(itself, place)
    const below: Place = { ...place, device: stats.dev }
    for (const child of listing?.entries ?? []) {
      // The mark itself is kept: the directory is again one of its kind where it is restored.
      const isMark = marked && mark.name === child.name && !child.stats.isDirectory()
      await this.#child(child, marked && !isMark ? { ...below, state: 'out' } : below, signal)
    }
    if (this.#waiting.at(-1) === itself) this.#waiting.pop()
  }

  #isOwn(listing: Listing, location: string): boolean {
    const what = this.#own.recognize(listing, location)
    if (what !== null) this.#remarks.own(location, what)
    return what !== null
  }

  /** Whether something is mounted here, below a root, whose content does not belong into the backup. */
  #isMountLeftOut({ location, stats }: Listed, { device, state }: Pick<Place, 'device' | 'state'>): boolean {
    if (this.#rules.oneFileSystem !== true || device === null) return false
    // A bind mount may have the device of what lies around it.
    if (stats.dev === device && this.#mounts?.has(location) !== true) return false
    if (state !== 'out') this.#remarks.mounted(location)
    return true
  }

  /** The entry for which the content of a directory is left out. */
  #markOf(listing: Listing, location: string): Mark | null {
    const names = this.#rules.excludeIfPresent ?? []
    const marker = names.length === 0 ? undefined : listing.entries.find(({ name }) => names.includes(name))
    if (marker !== undefined) return { kind: 'marker', name: marker.name }
    const tagged = this.#rules.excludeCaches === true && listing.entries.some(({ name }) => name === cacheTag)
    return tagged && isCacheDirectory(location) ? { kind: 'cache', name: cacheTag } : null
  }

  /** A configured root is never left out: its backup would be empty. */
  #minds({ name }: Mark, location: string, { device }: Place): boolean {
    if (device !== null) return true
    this.#remarks.note(`${shown(location)} holds ${shown(name)} and is backed up all the same: it is named in paths`)
    return false
  }

  #note({ path, location, inode }: Found, { device: above }: Place): void {
    const device = deviceOf(inode)
    if (device === String(above) && this.#mounts?.has(location) !== true) return
    const mount = this.#mounts === null ? '' : mountPointOf(location, this.#mounts)
    this.places.push({ path, location, device, mount, born: mount === '' ? '' : bornAt(mount) })
  }

  async #child(child: Listed, above: Place, signal: AbortSignal): Promise<void> {
    const path = `${above.path}/${child.name}`
    const directory = child.stats.isDirectory()
    const candidate = { path, root: above.root, directory }
    if (path.length > MOST_PATH) {
      this.#remarks.leftOut(child.location, `${shown(child.location)} is left out: its path is too long to be kept`)
      return
    }
    const state = this.#stateOf(candidate, above.state)
    if (state === 'out' && !(directory && this.#includes.mayMatchBelow(candidate))) return
    if (directory) await this.directory(child, { ...above, path, state }, signal)
    else if (this.#isMountLeftOut(child, { ...above, state })) this.#remarks.unread(child.location)
    else this.take(child, path)
  }

  #stateOf(candidate: Candidate, above: State): State {
    if (above === 'forced' || this.#includes.match(candidate)) return 'forced'
    return above === 'out' || this.#excludes.match(candidate) ? 'out' : 'taken'
  }

  #isSpecial({ location, stats }: Listed, { device }: Place): boolean {
    if (device === null || stats.dev === device) return false
    try {
      if (!isSpecialFileSystem(location)) return false
      this.#remarks.skipped(location)
    } catch (error) {
      this.#remarks.leftOut(
        location,
        `${shown(location)} cannot be looked into and its content is left out: ${reasonOf(error)}`,
      )
    }
    return true
  }

  /** Anything but a directory. */
  take({ location, stats, link }: Listed, path: string): void {
    const type = typeOf(stats)
    if (type === null) {
      this.#remarks.skipped(location)
      return
    }
    const found = { ...foundStats(stats), path: path.slice(1), location }
    const special = type.endsWith('-device') ? { device: deviceNumbers(stats) } : {}
    const itself = { ...found, ...special, type, link: link === undefined ? '' : nameOf(link) }
    const identity = fileIdentityOf(found)
    const first = found.nlink === 1 ? undefined : this.#names.get(identity)
    if (first !== undefined) this.#add({ ...found, type: 'hardlink', link: first })
    else {
      if (found.nlink > 1) this.#names.set(identity, found.path)
      this.#add(itself)
    }
  }

  #add(found: Found): void {
    for (const one of [...this.#waiting.splice(0), found]) this.#found(one)
  }
}

function directoryOf(
  { location, stats }: { location: string; stats: BigIntStats },
  path: string,
  leftOut: Found['leftOut'],
): Found {
  const found: Found = { ...foundStats(stats), path: path.slice(1), location, type: 'directory', link: '' }
  return leftOut === undefined ? found : { ...found, leftOut }
}

function bornAt(mount: string): string {
  try {
    const { birthtimeNs: born } = lstatSync(mount, { bigint: true })
    return born === 0n ? '' : String(born)
  } catch {
    // Its own path may be closed to us.
    return ''
  }
}
