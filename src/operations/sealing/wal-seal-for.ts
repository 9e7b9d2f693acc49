import type { EncryptionSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { currentEpoch, readOwnEpochs } from '../../repository/keys/key-room.js'
import type { Repository } from '../../repository/types.js'
import type { WalSeal } from '../../repository/wal/wal-seal.js'
import { readPin, walIdentity } from './host-keys.js'
import { notEncrypted } from './sealing-for.js'

/** Opens sealed files of the log, with whatever key is at hand when the first one is read. */
export function walReader({ keys }: Pick<Context, 'keys'>, { storage }: Repository): WalSeal {
  return { writing: null, open: epoch => keys.open(storage, epoch) }
}

/**
 * Seals files of the log too, where the repository is encrypted: the public half is enough. The state directory is not
 * needed; without it this host does not know again what it has archived, and then a key must tell.
 * @throws NexusError refused `encryption_missing` when the configuration wants encryption and the repository has none
 */
export async function walSealFor(
  context: Context,
  repository: Repository,
  wanted: EncryptionSettings | undefined,
): Promise<WalSeal> {
  const reader = walReader(context, repository)
  const pin = await orUnknown(readPin(context, repository.id))
  const current = currentEpoch(await readOwnEpochs(repository.storage, repository.id), pin)
  if (current === undefined) {
    if (wanted !== undefined) throw notEncrypted(repository)
    return reader
  }
  const identity = (await orUnknown(walIdentity(context, repository.id))) ?? null
  return { ...reader, writing: { epoch: current.id, sealingKey: current.sealing_key, identity } }
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
