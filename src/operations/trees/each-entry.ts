import { readTree } from '../../image/tree/load-layout.js'
import type { TreeEntry } from '../../image/tree/types.js'
import type { SourceRoom } from '../../repository/types.js'
import { treePartOf } from '../chain-members.js'
import type { OpenedBackup } from '../sealing/open-backup.js'

/**
 * Goes once through the entries of a tree backup, which are not kept. What was gathered is good only when this has ended:
 * whether the list is the one that was stored is known at its end.
 *
 * @throws NexusError `damage` when the list is missing or not what it was
 */
export async function eachEntry(
  room: SourceRoom,
  opened: OpenedBackup,
  take: (entry: TreeEntry) => void,
): Promise<void> {
  const [part, counts] = treePartOf(room, opened)
  await readTree(part, counts, entry => {
    take(entry)
    return null
  })
}
