import { dirname, join } from 'node:path'
import type { Tree } from './tree.js'
import type { TreeEntry } from './types.js'

/** Where entries of a tree come to lie. */
export class Places {
  readonly #directory: string
  readonly #elsewhere: readonly (readonly [string, string])[]

  constructor(directory: string, elsewhere: ReadonlyMap<string, string>) {
    this.#directory = directory
    // The longest first: a place within a place.
    this.#elsewhere = [...elsewhere].sort(([a], [b]) => b.length - a.length)
  }

  /** Absolute path of an entry. */
  of(path: string): string {
    for (const [prefix, directory] of this.#elsewhere) {
      if (path === prefix) return directory
      if (path.startsWith(`${prefix}/`)) return join(directory, path.slice(prefix.length + 1))
    }
    return path === '' ? this.#directory : join(this.#directory, path)
  }

  /** The caller's directory in which an entry comes to lie. */
  around(path: string): string {
    const [, directory] = this.#elsewhere.find(([prefix]) => path.startsWith(`${prefix}/`)) ?? []
    return directory ?? this.#directory
  }

  /** Whether the directory is the caller's and there already. */
  isGiven(path: string): boolean {
    return path === '' || this.#elsewhere.some(([prefix]) => prefix === path)
  }
}

/**
 * Every directory of a tree, outer ones first, the root as ''. One that is known only from what lies in it is made
 * closed to others, with the owner and time of what named it first.
 */
export function directoriesOf(tree: Tree): [string, TreeEntry | null][] {
  const directories = new Map<string, TreeEntry | null>([['', null]])
  for (const entry of tree.entries()) {
    if (entry.type === 'directory') directories.set(entry.path, entry)
    for (let path = parentOf(entry.path); !directories.has(path); path = parentOf(path)) {
      directories.set(path, {
        ...entry,
        path,
        type: 'directory',
        mode: 0o700,
        size: 0,
        link: '',
        base: null,
        facts: {},
      })
    }
  }
  return [...directories].sort(([a], [b]) => depthOf(a) - depthOf(b))
}

/** How many directories lie around an entry; the root, '', has none of its own depth. */
export function depthOf(path: string): number {
  if (path === '') return 0
  let depth = 1
  for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) depth += 1
  return depth
}

function parentOf(path: string): string {
  const parent = dirname(path)
  return parent === '.' ? '' : parent
}
