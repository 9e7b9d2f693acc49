import { NexusError } from '../errors.js'
import { partialPrefix } from '../repository/layout.js'
import type { SourceRoom } from '../repository/types.js'

/** Those of these backups that are gone, or on their way out. */
export async function prunedAmong(room: SourceRoom, ids: readonly string[]): Promise<Set<string>> {
  const present = new Set((await room.repository.storage.list(room.name)).map(({ name }) => name))
  return new Set(ids.filter(id => !present.has(id) || present.has(partialPrefix + id)))
}

/**
 * Works on a backup and what it depends on. Where the store lets nobody lock, a prune may take them away meanwhile: what
 * then looks like damage is told as what it is.
 * @throws NexusError not-found `backup_not_found` when one of them is gone; else what `work` throws
 */
export async function unlessPruned<T>(room: SourceRoom, ids: readonly string[], work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof NexusError) || (error.kind !== 'damage' && error.kind !== 'not-found')) throw error
    const [gone] = await prunedAmong(room, ids)
    if (gone === undefined) throw error
    throw new NexusError('not-found', 'backup_not_found', `${gone} was pruned meanwhile`, {
      hint: "choose another: 'nexus-backup list' shows what there is",
      cause: error,
    })
  }
}
