import { isUtf8 } from 'node:buffer'
import { type BigIntStats, readlinkSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { type Found, foundStats } from './found.js'
import { type Listed, listDirectory, reason } from './list-directory.js'
import { type Candidate, compilePatterns, type Patterns } from './patterns.js'
import { type Remarks, shown } from './remarks.js'
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

/**
 * Everything that belongs into a backup of some roots, a directory before what it holds. Symbolic links are not followed;
 * mounted file systems are, but for those of the kernel (/proc, /sys). What is unreadable is a problem, never silence.
 *
 * @param take is given each of them, in order
 * @throws NexusError `configuration` (`pattern_invalid`)
 */
export async function walk(
  roots: readonly Root[],
  rules: WalkRules,
  { remarks, signal }: { remarks: Remarks; signal: AbortSignal },
  take: (found: Found) => void,
): Promise<void> {
  const walker = new Walker(rules, remarks, take)
  for (const root of roots) {
    const stats = root.stats
    const entry = { name: '', location: root.location, stats }
    const path = root.path === '/' ? '' : root.path
    if (stats.isDirectory())
      await walker.directory(entry, { root: path, path, state: 'taken', device: stats.dev }, signal)
    else walker.take(entry, path)
  }
}

interface Place {
  /** Absolute path of the root; '' for `/`. */
  root: string
  /** Absolute path as configured; '' for `/`. */
  path: string
  state: State
  /** Device of the directory above. */
  device: bigint
}

class Walker {
  readonly #excludes: Patterns
  readonly #includes: Patterns
  readonly #remarks: Remarks
  /** Path of the first name of each file that has several. */
  readonly #names = new Map<string, string>()
  /** Directories that come into the backup only when something below them does. */
  readonly #waiting: Found[] = []
  readonly #found: (found: Found) => void
  #directories = 0

  constructor(rules: WalkRules, remarks: Remarks, found: (found: Found) => void) {
    this.#found = found
    this.#excludes = compilePatterns(rules.exclude)
    this.#includes = compilePatterns(rules.include)
    this.#remarks = remarks
  }

  async directory(entry: Listed, place: Place, signal: AbortSignal): Promise<void> {
    this.#directories += 1
    if (this.#directories % TURN === 0) await setImmediate()
    signal.throwIfAborted()
    const itself = directoryOf(entry, place.path)
    if (place.state === 'out') this.#waiting.push(itself)
    else if (place.path !== '') this.#add(itself)
    const children = this.#isSpecial(entry, place) ? null : listDirectory(entry.location, this.#remarks)
    for (const child of children ?? []) await this.#child(child, { ...place, device: entry.stats.dev }, signal)
    if (this.#waiting.at(-1) === itself) this.#waiting.pop()
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
    if (stats.dev === device) return false
    try {
      if (!isSpecialFileSystem(location)) return false
      this.#remarks.skipped(location)
    } catch (error) {
      this.#remarks.problem(`${shown(location)} cannot be looked into and its content is left out: ${reason(error)}`)
    }
    return true
  }

  /** Anything but a directory. */
  take({ location, stats }: Listed, path: string): void {
    const found = { ...foundStats(stats), path: path.slice(1), location }
    if (stats.isSymbolicLink()) {
      const link = this.#linkOf(location)
      if (link !== null) this.#add({ ...found, type: 'symlink', link })
    } else if (!stats.isFile()) this.#remarks.skipped(location)
    else if (found.nlink === 1) this.#add({ ...found, type: 'file', link: '' })
    else {
      const first = this.#names.get(found.inode)
      if (first === undefined) this.#names.set(found.inode, found.path)
      this.#add({ ...found, type: first === undefined ? 'file' : 'hardlink', link: first ?? '' })
    }
  }

  #linkOf(location: string): string | null {
    try {
      const target = readlinkSync(location, { encoding: 'buffer' })
      if (isUtf8(target)) return target.toString('utf8')
      this.#remarks.problem(`${shown(location)} is left out: what it links to is not UTF-8`)
    } catch (error) {
      this.#remarks.problem(`${shown(location)} is left out: ${reason(error)}`)
    }
    return null
  }

  #add(found: Found): void {
    for (const one of [...this.#waiting.splice(0), found]) this.#found(one)
  }
}

function directoryOf({ location, stats }: { location: string; stats: BigIntStats }, path: string): Found {
  return { ...foundStats(stats), path: path.slice(1), location, type: 'directory', link: '' }
}
