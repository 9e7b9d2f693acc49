import type { Context } from '../../context.js'
import {
  hostsDirectory,
  keysDirectory,
  recipientsDirectory,
  removalsDirectory,
} from '../../repository/keys/key-layout.js'
import type { Repository } from '../../repository/types.js'
import { lockOptions } from '../locked.js'
import { keepKeys, putBackKeys } from './kept-keys.js'

/** What a killed run left is that old before it is removed: create writes there without this lock. */
const LEFTOVER_AGE_MS = 3_600_000

/**
 * Changes who opens a repository while nobody else does: a recipient let in or taken out during a rotation would be
 * missing from the new epoch, or be in it again. Backups go on meanwhile.
 * @param purpose `keys rotate`, for whoever waits
 * @throws NexusError locked when another run changes the keys
 */
export async function withKeysLocked<T>(
  context: Context,
  repository: Repository,
  purpose: string,
  work: () => Promise<T>,
): Promise<T> {
  const { storage } = repository
  const lock = await storage.lock(keysDirectory, 'writer', 'exclusive', lockOptions(context, purpose))
  try {
    const before = new Date(context.now().getTime() - LEFTOVER_AGE_MS)
    for (const directory of [keysDirectory, hostsDirectory]) await storage.removeLeftovers(directory, before)
    for (const { name, kind } of await storage.list(keysDirectory)) {
      if (kind !== 'directory' || name.startsWith('.')) continue
      for (const directory of [`${keysDirectory}/${name}`, recipientsDirectory(name), removalsDirectory(name)]) {
        await storage.removeLeftovers(directory, before)
      }
    }
    await putBackKeys(context, repository)
    const result = await work()
    await keepKeys(context, repository)
    return result
  } finally {
    await lock.release()
  }
}
