import type { TreePaths } from '../../image/tree/tree.js'
import { identityOf, isUnchanged } from './entry-facts.js'
import type { Found } from './found.js'

/** What a file continues. */
export interface Continued {
  /** Number of the file in the parent's image. */
  base: number
  /** Told without reading it. */
  unchanged: boolean
}

/**
 * Finds for each file the one of the parent's image that it continues: the one that it is, else the one that had its
 * name. None is continued twice.
 *
 * @returns by path in the archive
 */
export function continuedFiles(found: readonly Found[], before: TreePaths): Map<string, Continued> {
  const byIdentity = identities(before)
  const taken = new Set<number>()
  const continued = new Map<string, Continued>()
  const files = found.filter(({ type }) => type === 'file')
  const take = (file: Found, base: number | undefined, only: 'unchanged' | 'all') => {
    if (base === undefined || taken.has(base) || continued.has(file.path)) return
    const unchanged = isUnchanged(file, before.fileEntry(base))
    if (only === 'unchanged' && !unchanged) return
    taken.add(base)
    continued.set(file.path, { base, unchanged })
  }
  for (const file of files) take(file, before.fileNumber(file.path), 'unchanged')
  for (const file of files) take(file, byIdentity.get(identityOf(file)), 'all')
  for (const file of files) take(file, before.fileNumber(file.path), 'all')
  return continued
}

function identities(before: TreePaths): Map<string, number> {
  const numbers = new Map<string, number>()
  for (let file = 0; file < before.count; file += 1) numbers.set(identityOf(before.fileEntry(file).facts), file)
  return numbers
}

/** Where the files of the parent's image lay. */
export function* placesOf(before: TreePaths): Generator<{ path: string; inode: unknown }, void, void> {
  for (let file = 0; file < before.count; file += 1) {
    const { path, facts } = before.fileEntry(file)
    yield { path, inode: facts.inode }
  }
}
