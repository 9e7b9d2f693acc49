import { deviceOf, type Found } from './found.js'
import type { Root } from './roots.js'

/** Roots that hold nothing now and lie on another device than the files that they held: a disk is not mounted. */
export function emptiedRoots(
  roots: readonly Root[],
  found: Iterable<Found>,
  before: Iterable<{ path: string; inode: unknown }>,
): Root[] {
  const empty = new Set(roots)
  for (const { type, path } of found) {
    if (type === 'directory') continue
    for (const root of empty) if (isBelow(path, root)) empty.delete(root)
    if (empty.size === 0) return []
  }
  if (empty.size === 0) return []
  const moved = new Set<Root>()
  for (const { path, inode } of before) {
    const root = [...empty].find(candidate => isBelow(path, candidate))
    if (root !== undefined && typeof inode === 'string' && deviceOf(inode) !== String(root.stats.dev)) moved.add(root)
  }
  return [...moved]
}

function isBelow(path: string, root: Root): boolean {
  return root.path === '/' || `/${path}`.startsWith(`${root.path}/`) || `/${path}` === root.path
}
