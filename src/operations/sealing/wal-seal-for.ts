import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { EncryptionSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { keysDirectory } from '../../repository/keys/key-layout.js'
import type { Repository } from '../../repository/types.js'
import type { WalSeal } from '../../repository/wal/wal-seal.js'

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
  // The server waits for each segment: what is not needed is not even loaded.
  const isKnown = existsSync(join(context.stateDirectory, 'keys', `${repository.id}.json`))
  if (wanted === undefined && !isKnown && (await repository.storage.list(keysDirectory)).length === 0) return reader
  const { walSealing } = await import('./wal-writing.js')
  return { ...reader, writing: await walSealing(context, repository, wanted) }
}
