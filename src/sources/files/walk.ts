import { type BigIntStats, lstatSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { reasonOf } from '../../errors.js'
import { nameOf, shown } from '../../system/file-names.js'
import { mountPointOf, mountPoints } from '../../system/mounts.js'
import { deviceNumbers, deviceOf, type Found, fileIdentityOf, foundStats, typeOf } from './found.js'
import { type Listed, type Listing, listDirectory } from './list-directory.js'
import { nothingOwn, type OwnDirectories } from './own-directories.js'
import { type Candidate, compilePatterns, type Patterns } from './patterns.js'
import type { Remarks } from './remarks.js'
import type { Root } from './roots.js'
import { isSpecialFileSystem } from './special-file-systems.js'

/** Directories after which a signal gets its turn. */
const TURN = 64

export interface WalkRules {
  /** Left out, a directory with all that it holds. */
  exclude: readonly string[]
  /** Taken all the same, a directory with all that it holds; the directories on the way to it come with it. */
  include: readonly string[]
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
 * mounted file systems are, but for those of the kernel (/proc, /sys). Directories of this program are left out, and that
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

class Walker {
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
    this.#excludes = compilePatterns(rules.exclude)
    this.#includes = compilePatterns(rules.include)
    this.#remarks = remarks
  }

  async directory(entry: Listed, place: Place, signal: AbortSignal): Promise<void> {
    this.#directories += 1
    if (this.#directories % TURN === 0) await setImmediate()
    signal.throwIfAborted()
    if (this.#isOwn({ stats: entry.stats, entries: [] }, entry.location)) return
    const listing = this.#isSpecial(entry, place) ? null : listDirectory(entry.location, this.#remarks)
    if (listing !== null && this.#isOwn(listing, entry.location)) return
    // What was listed may be another directory than the one found before it.
    const stats = listing?.stats ?? entry.stats
    const itself = directoryOf({ location: entry.location, stats }, place.path)
    if (place.state === 'out') this.#waiting.push(itself)
    else if (place.path !== '') this.#add(itself)
    this.#note(itself, place)
    for (const child of listing?.entries ?? []) await this.#child(child, { ...place, device: stats.dev }, signal)
    if (this.#waiting.at(-1) === itself) this.#waiting.pop()
  }

  #isOwn(listing: Listing, location: string): boolean {
    const what = this.#own.recognize(listing, location)
    if (what !== null) this.#remarks.own(location, what)
    return what !== null
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
    const state = this.#stateOf(candidate, above.state)
    if (state === 'out' && !(directory && this.#includes.mayMatchBelow(candidate))) return
    if (directory) await this.directory(child, { ...above, path, state }, signal)
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

function directoryOf({ location, stats }: { location: string; stats: BigIntStats }, path: string): Found {
  return { ...foundStats(stats), path: path.slice(1), location, type: 'directory', link: '' }
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
