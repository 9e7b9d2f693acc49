import type { EncryptionSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import type { Epoch } from '../../repository/keys/epoch.js'
import type { Repository } from '../../repository/types.js'
import type { WalSealing } from '../../repository/wal/wal-seal.js'
import { putBackKeys } from '../keys/kept-keys.js'
import { readCurrent } from './current-epoch.js'
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
  const current = await currentKept(context, repository)
  if (current === undefined) {
    if (wanted !== undefined) throw notEncrypted(repository)
    return null
  }
  const identity = (await orUnknown(walIdentity(context, repository.id))) ?? null
  return { epoch: current.id, sealingKey: current.sealing_key, identity }
}

/** The epoch that counts; where it is not the one that this host knows, what was kept of the keys is put back first. */
async function currentKept(context: Context, repository: Repository): Promise<Epoch | undefined> {
  const pin = await orUnknown(readPin(context, repository.id))
  const current = () => readCurrent(context, repository, pin)
  try {
    return await current()
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'keys_damaged') throw error
    if (!(await putBackKeys(context, repository))) throw error
    return current()
  }
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
