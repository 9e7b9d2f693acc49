import { type LoadedTree, loadTree } from '../../image/tree/tree.js'
import type { SourceRoom } from '../../repository/types.js'
import { treePartOf } from '../chain-members.js'
import type { OpenedBackup } from '../sealing/open-backup.js'

/** The list that was read last of each source: the steps of a run ask for the same one. */
const lists = new WeakMap<SourceRoom, { id: string; tree: Promise<LoadedTree> }>()

/** The list of entries of a tree backup, kept as `keptTree` does. @throws NexusError `damage` when it is missing or not what it was */
export function treeOf(room: SourceRoom, opened: OpenedBackup): Promise<LoadedTree> {
  return keptTree(room, opened.manifest.id, () => loadTree(...treePartOf(room, opened)))
}

/**
 * The list of entries of a backup, which stays in memory until that of another backup of its source is asked for, or until
 * it is released.
 *
 * @param read asked where it is not there yet
 */
export function keptTree(room: SourceRoom, id: string, read: () => Promise<LoadedTree>): Promise<LoadedTree> {
  const known = lists.get(room)
  if (known?.id === id) return known.tree
  const tree = read()
  lists.set(room, { id, tree })
  tree.catch(() => releaseTree(room))
  return tree
}

/** Gives the memory back that a source's list takes. */
export function releaseTree(room: SourceRoom): void {
  lists.delete(room)
}
