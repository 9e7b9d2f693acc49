import { dirname } from 'node:path'
import type { RestoreTreeTarget } from '../../image/tree/restore-tree.js'
import type { Tree } from '../../image/tree/tree.js'
import { assertSpaceAt } from '../restore-space.js'

/**
 * Refuses to begin a restore that one of the file systems it writes to cannot take. Files that had holes count for nothing,
 * for nobody knows how much of them was data.
 *
 * @param tree what is restored
 * @throws NexusError `failed` (`disk_full`) naming the directory
 */
export async function assertTreeSpace(
  tree: Pick<Tree, 'entries'>,
  { directory, elsewhere }: Pick<RestoreTreeTarget, 'directory' | 'elsewhere'>,
): Promise<void> {
  // The longest first: a place within a place.
  const places = [...elsewhere].sort(([a], [b]) => b.length - a.length)
  const bytes = new Map<string, number>()
  for (const { path, type, size, sparse } of tree.entries()) {
    if (type !== 'file' || sparse) continue
    const [, place] = places.find(([prefix]) => path === prefix || path.startsWith(`${prefix}/`)) ?? ['', directory]
    bytes.set(place, (bytes.get(place) ?? 0) + size)
  }
  await assertSpaceAt([...bytes].map(([place, needed]) => ({ directory: dirname(place), bytes: needed })))
}
