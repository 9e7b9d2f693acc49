import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import type { Manifest } from '../../repository/manifest.js'
import type { BackupKey } from '../../repository/sealed/backup-key.js'
import type { Repository, SourceRoom } from '../../repository/types.js'
import type { Selected } from '../select.js'

/** A manifest of which nothing is sealed any more. */
export interface OpenManifest extends Manifest {
  digest_seed: string
  image_digest: string
}

/** A backup that can be read: its manifest, and its key where it is encrypted. */
export interface OpenedBackup {
  manifest: OpenManifest
  key: BackupKey | null
}

/**
 * Makes a backup readable; one that is not encrypted is so already.
 * @throws NexusError refused `key_missing` or `key_wrong`, damage when it was not sealed to its epoch or was changed
 */
export async function openBackup(
  context: Pick<Context, 'keys' | 'stateDirectory' | 'warn'>,
  repository: Repository,
  manifest: Manifest,
): Promise<OpenedBackup> {
  const { encryption, id } = manifest
  if (encryption === undefined) return { manifest: withoutNull(manifest), key: null }
  const { keptOver } = await import('../keys/kept-over.js')
  const { openBackupKey } = await import('../../repository/sealed/backup-key.js')
  const { openManifest } = await import('../../repository/sealed/sealed-manifest.js')
  const epoch = await context.keys.open(keptOver(context, repository), encryption.epoch)
  const key = await openBackupKey(encryption.data_key, id, epoch.opening)
  if (key === undefined) {
    throw new NexusError('damage', 'data_key_damaged', `the data key of ${id} was not sealed for it, or was changed`, {
      hint: `see what else is damaged: nexus-backup verify ${manifest.source}`,
    })
  }
  // One that was opened before is not what was signed any more.
  const opened = manifest.digest_seed === null ? openManifest(manifest, encryption, key) : manifest
  return { manifest: withoutNull(opened), key }
}

/** A selected backup with its manifest open, its chain ours. @throws NexusError as `openBackup` and `assertTrusted` */
export async function openSelected(
  context: Pick<Context, 'keys' | 'warn' | 'stateDirectory'>,
  selected: Selected,
): Promise<Selected> {
  const { assertTrusted } = await import('./signatures.js')
  await assertTrusted(context, selected)
  const { manifest } = await openBackup(context, selected.room.repository, selected.manifest)
  return { ...selected, manifest }
}

/** Opens every backup of a chain. */
export async function openChain(
  context: Pick<Context, 'keys' | 'stateDirectory' | 'warn'>,
  { repository }: SourceRoom,
  chain: readonly Manifest[],
): Promise<OpenedBackup[]> {
  const opened: OpenedBackup[] = []
  for (const member of chain) opened.push(await openBackup(context, repository, member))
  return opened
}

/** The newest backup of a chain. */
export function newestOf(chain: readonly OpenedBackup[]): OpenedBackup {
  const newest = chain.at(-1)
  if (newest === undefined) throw new Error('a chain has at least one backup')
  return newest
}

/** Digests are null only beside what is sealed (manifest-read.ts), and here nothing is. */
function withoutNull(manifest: Manifest): OpenManifest {
  const { digest_seed: seed, image_digest: digest } = manifest
  if (seed !== null && digest !== null) return { ...manifest, digest_seed: seed, image_digest: digest }
  throw new NexusError('damage', 'manifest_damaged', `the manifest of ${manifest.id} has no digests`)
}
