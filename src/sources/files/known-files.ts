import type { TreePaths } from '../../image/tree/tree.js'
import { identityOf, isUnchanged } from './entry-facts.js'
import type { FoundStore } from './found-store.js'

/** What files continue, by their position in the walk. */
export interface Continued {
  /** Number of the file in the parent's image; null for none. */
  baseOf(position: number): number | null
  /** Told without reading it. */
  isUnchanged(position: number): boolean
}

const NONE = -1

/** That no file continues anything: of a full. */
export const nothingContinued: Continued = { baseOf: () => null, isUnchanged: () => false }

/**
 * Finds for each file the one of the parent's image that it continues: the one that it is, else the one that had its
 * name. None is continued twice. What is neither found unchanged under its own name is looked up by what it is, which
 * costs some 200 bytes for each such file.
 *
 * @param reread nothing is told without reading it
 */
export function continuedFiles(found: FoundStore, before: TreePaths, { reread } = { reread: false }): Continued {
  const bases = new Int32Array(found.length).fill(NONE)
  const unchanged = new Uint8Array(found.length)
  const taken = new Uint8Array(before.count)
  const take = (position: number, base: number | undefined, only: 'unchanged' | 'all') => {
    if (base === undefined || taken[base] === 1) return
    const same = !reread && isUnchanged(found.at(position), before.fileEntry(base))
    if (only === 'unchanged' && !same) return
    taken[base] = 1
    bases[position] = base
    unchanged[position] = same ? 1 : 0
  }
  let position = 0
  const left: number[] = []
  for (const { type, path } of found) {
    if (type === 'file') {
      take(position, before.fileNumber(path), 'unchanged')
      if (bases[position] === NONE) left.push(position)
    }
    position += 1
  }
  if (left.length > 0) {
    const byIdentity = identities(before, taken)
    for (const one of left) take(one, byIdentity.get(identityOf(found.at(one))), 'all')
    for (const one of left) if (bases[one] === NONE) take(one, before.fileNumber(found.at(one).path), 'all')
  }
  return {
    baseOf: one => (bases[one] === NONE ? null : (bases[one] ?? null)),
    isUnchanged: one => unchanged[one] === 1,
  }
}

/** Of the parent's files that are still to be had. */
function identities(before: TreePaths, taken: Uint8Array): Map<string, number> {
  const numbers = new Map<string, number>()
  for (let file = 0; file < before.count; file += 1) {
    if (taken[file] === 0) numbers.set(identityOf(before.fileEntry(file).facts), file)
  }
  return numbers
}
