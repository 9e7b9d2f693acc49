import { isUtf8 } from 'node:buffer'
import { type BigIntStats, lstatSync, readdirSync } from 'node:fs'
import type { FilesSourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import type { TreeEntry } from '../../image/tree/types.js'
import type { Manifest } from '../../repository/manifest.js'
import { wasLeftOut } from '../../sources/files/left-out.js'
import type { OwnDirectories } from '../../sources/files/own-directories.js'
import { compilePatterns, type Patterns } from '../../sources/files/patterns.js'
import { nameOf, shown } from '../../system/file-names.js'
import { byShortPath } from '../../system/long-paths.js'
import { nameExists } from '../../system/names.js'
import { ownDirectories } from '../own-directories.js'

/** What of a directory that is replaced stays in it, since the backup left it out. */
export interface KeptEntry {
  /** The directory, a real path, and where it is set aside. */
  target: string
  previous: string
  /** Relative path, byte by byte (latin1). */
  name: string
}

/** A directory under backup that is about to be replaced. */
export interface ReplacedRoot {
  /** As configured. */
  path: string
  target: string
  previous: string
  /** What takes its place. */
  staged: string
}

/** `out`: excluded. `new`: the backup holds no such directory. */
type State = 'taken' | 'forced' | 'out' | 'new'

interface Place {
  /** Relative path, byte by byte; empty for the root. */
  name: string
  /** As configured; '' for `/`. */
  path: string
  state: State
}

/**
 * Finds what a backup left out of a directory: what was excluded, what could not be read, what it holds nothing of in any
 * case (sockets; in earlier ones pipes, devices and names that are not UTF-8), and this program's own directories.
 */
export class KeptEntries {
  readonly #excludes: Patterns
  readonly #includes: Patterns
  readonly #wasLeftOut: (location: string) => boolean
  readonly #own: OwnDirectories
  /** Earlier backups hold no pipes and devices, and no names that are not UTF-8. */
  readonly #holdsAllNames: boolean
  readonly #partial: ReadonlySet<string>
  #unrestored: ReadonlySet<string> = new Set()

  /**
   * @param partial paths of directories whose content the backup left out, see `isPartial`
   * @throws NexusError `refused` (`left_out_unknown`)
   */
  constructor(
    context: Context,
    source: FilesSourceSettings,
    { id, facts }: Manifest,
    partial: ReadonlySet<string> = new Set(),
  ) {
    this.#partial = partial
    this.#excludes = compilePatterns(wordsOf(facts.exclude))
    this.#includes = compilePatterns(wordsOf(facts.include))
    this.#wasLeftOut = wasLeftOut(facts.left_out)
    this.#own = ownDirectories(context, source)
    this.#holdsAllNames = wordsOf(facts.keeps).includes('all-names')
    if ((facts.left_out as { more?: unknown } | undefined)?.more !== true) return
    throw new NexusError('refused', 'left_out_unknown', `${id} left out more files than it remembers`, {
      hint: `in place they would be gone; restore it beside and copy what you need: nexus-backup restore ${id} --to PATH`,
    })
  }

  /** What could not be restored stays as well. @param paths of entries */
  keepAlso(paths: ReadonlySet<string>): void {
    this.#unrestored = paths
  }

  /** As the directory is now. @throws NexusError `refused` (`own_directory_inside`, `target_unreadable`) */
  in(root: ReplacedRoot): KeptEntry[] {
    const names: string[] = []
    this.#look(root, { name: '', path: root.path === '/' ? '' : root.path, state: 'taken' }, names)
    return names.map(name => ({ target: root.target, previous: root.previous, name }))
  }

  #look(root: ReplacedRoot, place: Place, names: string[]): void {
    const location = pathOf(root.target, place.name)
    const everything = this.#wasLeftOut(nameOf(location))
    const isLeftOut = place.state === 'taken' && this.#partial.has(place.path.slice(1))
    for (const bytes of listed(location)) {
      const child = {
        name: `${place.name}${place.name === '' ? '' : '/'}${bytes.toString('latin1')}`,
        path: `${place.path}/${nameOf(bytes)}`,
      }
      const here = pathOf(root.target, child.name)
      const stats = byShortPath(here, at => lstatSync(at, { bigint: true, throwIfNoEntry: false }))
      if (stats === undefined) continue
      const above = isLeftOut ? 'out' : place.state
      const state = this.#stateOf(root, { path: child.path, state: above }, stats.isDirectory())
      const there = state !== 'new' && nameExists(pathOf(root.staged, child.name))
      const what = stats.isDirectory() ? this.#own.recognize(listing(here, stats), nameOf(here)) : null
      if (what !== null && (there || state === 'new')) throw ownInside(nameOf(here), what)
      const unrestored = this.#unrestored.has(child.path.slice(1))
      const stays = what !== null || everything || unrestored || state === 'out' || this.#isNever(here, stats, bytes)
      if (stays && !there && state !== 'new') names.push(child.name)
      else if (stats.isDirectory()) this.#look(root, { ...child, state: there ? state : 'new' }, names)
    }
  }

  #stateOf(root: ReplacedRoot, { path, state }: Pick<Place, 'path' | 'state'>, directory: boolean): State {
    if (state === 'new') return 'new'
    const candidate = { path, root: root.path === '/' ? '' : root.path, directory }
    if (state === 'forced' || this.#includes.match(candidate)) return 'forced'
    return state === 'out' || this.#excludes.match(candidate) ? 'out' : 'taken'
  }

  #isNever(here: Buffer, stats: BigIntStats, name: Buffer): boolean {
    if (stats.isSocket() || this.#wasLeftOut(nameOf(here))) return true
    const known = stats.isDirectory() || stats.isFile() || stats.isSymbolicLink()
    return !this.#holdsAllNames && !(known && isUtf8(name))
  }
}

/** Whether an entry is a directory of whose content a backup holds no more than its mark and what was included. */
export function isPartial({ type, facts }: Pick<TreeEntry, 'type' | 'facts'>): boolean {
  return type === 'directory' && facts.left_out !== undefined
}

function wordsOf(fact: unknown): string[] {
  return Array.isArray(fact) ? fact.filter(word => typeof word === 'string') : []
}

function pathOf(root: string, name: string): Buffer {
  return name === ''
    ? Buffer.from(root)
    : Buffer.concat([Buffer.from(root === '/' ? root : `${root}/`), Buffer.from(name, 'latin1')])
}

function listed(location: Buffer): Buffer[] {
  try {
    return byShortPath(location, at => readdirSync(at, { encoding: 'buffer' }))
  } catch (error) {
    const message = `${shown(nameOf(location))} cannot be looked into, and what no backup holds of it would be gone`
    throw new NexusError('refused', 'target_unreadable', `${message}: ${messageOf(error)}`, {
      hint: 'run as root, or restore to another place with --to PATH',
      cause: error,
    })
  }
}

function listing(location: Buffer, stats: BigIntStats): Parameters<OwnDirectories['recognize']>[0] {
  return { stats, entries: listed(location).map(bytes => ({ name: nameOf(bytes) })) }
}

function ownInside(location: string, what: string): NexusError {
  return new NexusError(
    'refused',
    'own_directory_inside',
    `${shown(location)} is ${what} and cannot stay where it is`,
    {
      hint: 'restore to another place with --to PATH and copy what you need',
    },
  )
}
