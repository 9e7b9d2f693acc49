import type { EncryptionSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { currentEpoch, readOwnEpochs } from '../../repository/keys/key-room.js'
import type { Repository } from '../../repository/types.js'
import type { WalSealing } from '../../repository/wal/wal-seal.js'
import { readPin, walIdentity } from './host-keys.js'
import { notEncrypted } from './sealing-for.js'

/**
 * What files of the log are sealed with; null for a repository that is not encrypted.
 * @throws NexusError refused `encryption_missing` when the configuration wants encryption and the repository has none
 */
export async function walSealing(
  context: Context,
  repository: Repository,
  wanted: EncryptionSettings | undefined,
): Promise<WalSealing | null> {
  const pin = await orUnknown(readPin(context, repository.id))
  const current = currentEpoch(await readOwnEpochs(repository.storage, repository.id), pin, repository.trustedEpochs)
  if (current === undefined) {
    if (wanted !== undefined) throw notEncrypted(repository)
    return null
  }
  const identity = (await orUnknown(walIdentity(context, repository.id))) ?? null
  return { epoch: current.id, sealingKey: current.sealing_key, identity }
}

/** The server's user may not be let into the state directory; `pitr archive` works without it. */
async function orUnknown<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof NexusError && error.code === 'state_unusable') return undefined
    throw error
  }
}
