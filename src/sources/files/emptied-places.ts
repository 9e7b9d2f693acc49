import { lstatSync } from 'node:fs'
import { errnoOf } from '../../errors.js'
import type { TreeEntry } from '../../image/tree/types.js'
import { fsPath } from '../../system/file-names.js'
import { deviceOf } from './found.js'
import type { Root } from './roots.js'
import type { FileSystemPlace } from './walk.js'

/** A directory of which an earlier backup held files, and which lies on another file system now and holds none of them. */
export interface EmptiedPlace {
  /** Absolute path, as configured. */
  path: string
  /** Real path. */
  location: string
  /** Files that it held. */
  files: number
}

/** What a directory's entry keeps where a file system begins, for the next capture. */
export function placeFacts({ device, mount, born }: FileSystemPlace): Record<string, unknown> {
  return { device, mount, born }
}

interface Group {
  /** Path of the directory where the file system began. */
  place: string
  /** Longest directory that all its files lay in. */
  common: string
  files: number
}

/**
 * Directories, at every depth, that held files on another file system than the one that they lie on now, and of whose
 * files none is left: what a disk looks like that is not mounted, or another one in its place. Of an older list, which
 * does not tell where file systems begin, the device of each file tells it.
 *
 * @param before entries of the earlier backup, gone through twice
 */
export function emptiedPlaces(
  {
    roots,
    places,
    oneFileSystem = false,
  }: { roots: readonly Root[]; places: readonly FileSystemPlace[]; oneFileSystem?: boolean },
  before: () => Iterable<TreeEntry>,
): EmptiedPlace[] {
  const known = new Known(roots, places)
  for (const entry of before()) if (entry.type === 'directory') known.learn(entry)
  const groups = new Map<string, Group | null>()
  for (const { type, path, facts } of before()) {
    if (type !== 'file' || typeof facts.inode !== 'string') continue
    const root = known.rootOf(path)
    if (root === undefined) continue
    const device = deviceOf(facts.inode)
    const place = known.placeOf(path)
    // What was mounted below a root would be left out now, were it there.
    if (oneFileSystem && place !== root.path.slice(1)) continue
    const key = `${device} ${place}`
    const group = groups.get(key)
    if (group === null) continue
    if (group === undefined && !known.isElsewhere(place, device)) groups.set(key, null)
    else if (isThere(locationOf(root, path))) groups.set(key, null)
    else groups.set(key, extended(group, place, path))
  }
  return [...groups.values()].flatMap(group => (group === null ? [] : known.describe(group)))
}

/** Where file systems began then and begin now. */
class Known {
  readonly #roots: readonly Root[]
  readonly #now: ReadonlyMap<string, FileSystemPlace>
  readonly #then = new Map<string, { mount: string; born: unknown }>()
  readonly #boundaries: Set<string>

  constructor(roots: readonly Root[], places: readonly FileSystemPlace[]) {
    this.#roots = roots
    this.#now = new Map(places.map(place => [place.path, place]))
    this.#boundaries = new Set([...roots.map(({ path }) => path.slice(1)), ...this.#now.keys()])
  }

  learn({ path, facts }: TreeEntry): void {
    if (typeof facts.mount !== 'string') return
    this.#then.set(path, { mount: facts.mount, born: facts.born })
    if (this.rootOf(path) !== undefined) this.#boundaries.add(path)
  }

  rootOf(path: string): Root | undefined {
    return this.#roots.find(root => isAtOrBelow(path, root.path.slice(1)))
  }

  /** The nearest directory at or above a path where a file system begins or began. */
  placeOf(path: string): string {
    return nearest(path, candidate => (this.#boundaries.has(candidate) ? candidate : undefined)) ?? ''
  }

  /** Whether what lay on a device, from a directory on, would lie on another file system now. */
  isElsewhere(place: string, device: string): boolean {
    const now = nearest(place, candidate => this.#now.get(candidate))
    // A root that is a single file, or was not listed.
    if (now === undefined) return false
    if (now.device !== device) return true
    const then = nearest(place, candidate => this.#then.get(candidate))
    return then !== undefined && (differ(then.mount, now.mount) || differ(then.born, now.born))
  }

  describe({ place, common, files }: Group): EmptiedPlace[] {
    const path = this.#then.size > 0 ? place : common
    const root = this.rootOf(path)
    return root === undefined ? [] : [{ path: `/${path}`, location: locationOf(root, path), files }]
  }
}

/** Whether two values are both known, and are not the same. */
function differ(then: unknown, now: string): boolean {
  return typeof then === 'string' && then !== '' && now !== '' && then !== now
}

/** Asks for a path and those above it, the longest first, what is known of it. */
function nearest<T>(path: string, ask: (candidate: string) => T | undefined): T | undefined {
  for (let at = path; ; at = parentOf(at)) {
    const answer = ask(at)
    if (answer !== undefined || at === '') return answer
  }
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf('/'), 0))
}

function isAtOrBelow(path: string, directory: string): boolean {
  return directory === '' || path === directory || path.startsWith(`${directory}/`)
}

function extended(group: Group | undefined, place: string, path: string): Group {
  if (group === undefined) return { place, common: parentOf(path), files: 1 }
  let { common } = group
  while (!isAtOrBelow(path, common)) common = parentOf(common)
  return { place, common, files: group.files + 1 }
}

function locationOf(root: Root, path: string): string {
  const rest = path.slice(root.path === '/' ? 0 : root.path.length - 1)
  return root.path === '/' ? `/${path}` : `${root.location === '/' ? '' : root.location}${rest}`
}

/** What cannot be looked at is not gone: the capture tells it. */
function isThere(location: string): boolean {
  try {
    return lstatSync(fsPath(location), { throwIfNoEntry: false }) !== undefined
  } catch (error) {
    return errnoOf(error) !== 'ENOTDIR'
  }
}
