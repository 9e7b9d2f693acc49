import { loadTree, type Tree } from '../../image/tree/tree.js'
import type { SourceRoom } from '../../repository/types.js'
import { treePartOf } from '../chain-members.js'
import type { OpenedBackup } from '../sealing/open-backup.js'

/** The list of entries of a tree backup. @throws NexusError `damage` when it is missing or not what it was */
export async function treeOf(room: SourceRoom, opened: OpenedBackup): Promise<Tree> {
  return loadTree(...treePartOf(room, opened))
}
