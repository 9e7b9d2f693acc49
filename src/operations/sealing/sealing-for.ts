import type { EncryptionSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import type { EpochPrivate } from '../../keys/epoch-keys.js'
import type { Epoch } from '../../repository/keys/epoch.js'
import { formatHost, formatVouch, isVouchedFor, readHost } from '../../repository/keys/host-file.js'
import { hostFile, hostsDirectory, vouchFile } from '../../repository/keys/key-layout.js'
import { readEpochs, readOwnEpochs } from '../../repository/keys/key-room.js'
import { isBackupId } from '../../repository/layout.js'
import type { Manifest } from '../../repository/manifest.js'
import type { Sealing } from '../../repository/sealed/sealed-backup.js'
import type { Repository } from '../../repository/types.js'
import { keepKeys, missingKeys, putBackKeys } from '../keys/kept-keys.js'
import { keptOver } from '../keys/kept-over.js'
import { readCurrent } from './current-epoch.js'
import { type HostSigner, hostSigner, readPin } from './host-keys.js'
import { assertSamePlace, forgetPlace, rememberPlace, writePin } from './known-places.js'

type Wanted = EncryptionSettings | undefined

/**
 * What new backups in a repository are sealed with; null for one that is not encrypted. Only the public half is needed.
 * What this host has kept of the keys is put back where it is missing.
 * @param options.init an empty repository becomes an encrypted one when the configuration says so
 * @throws NexusError refused `encryption_missing` when the configuration wants encryption and the repository has none:
 *   nothing is ever written in plain by mistake; damage when its keys are not those that this host knows, or it knows another
 *   repository there (`repository_replaced`)
 */
export async function sealingFor(
  context: Context,
  repository: Repository,
  wanted: Wanted,
  { init }: { init: boolean },
): Promise<Sealing | null> {
  const isKept = await putBackKeys(context, repository)
  const sealing = await currentSealing(context, repository, wanted, { init })
  if (sealing !== null && !isKept) await keepKeys(context, repository)
  return sealing
}

async function currentSealing(
  context: Context,
  repository: Repository,
  wanted: Wanted,
  { init }: { init: boolean },
): Promise<Sealing | null> {
  const pin = await readPin(context, repository.id)
  if (!init) await assertSamePlace(context, repository)
  const current = await readCurrent(context, repository, pin)
  const isNew = current === undefined && init && !(await holdsBackups(repository))
  if (init && !isNew) await assertSamePlace(context, repository)
  if (current === undefined) {
    if (wanted === undefined) {
      if (isNew) await forgetPlace(context, repository)
      return null
    }
    if (!isNew) throw notEncrypted(repository)
    return sealingWith(context, repository, await beginEncryption(context, repository, wanted))
  }
  if (pin?.id !== current.id) await writePin(context, repository, current)
  else await rememberPlace(context, repository)
  return sealingWith(context, repository, { epoch: current, keys: undefined })
}

/**
 * The refusal of `sealingFor` for who only looks: nothing is written.
 * @throws NexusError refused `encryption_missing`
 */
export async function assertSealable(
  context: Context,
  repository: Repository,
  wanted: Wanted,
  { init }: { init: boolean },
): Promise<void> {
  // What this host has kept is put back before anything is written.
  if ((await missingKeys(context, repository)).length > 0) return
  const pin = await readPin(context, repository.id)
  const current = await readCurrent(context, repository, pin)
  const isNew = current === undefined && init && !(await holdsBackups(repository))
  if (!isNew) await assertSamePlace(context, repository)
  if (current === undefined && wanted !== undefined && !isNew) throw notEncrypted(repository)
}

/** Whether there are backups, which then are not encrypted. */
async function holdsBackups({ sources, storage }: Repository): Promise<boolean> {
  for (const source of await sources()) {
    if ((await storage.list(source)).some(({ name }) => isBackupId(name))) return true
  }
  return false
}

/** Makes a repository's first epoch, for the recipients that are configured. */
async function beginEncryption(
  context: Context,
  repository: Repository,
  { recipients }: EncryptionSettings,
): Promise<{ epoch: Epoch; keys: EpochPrivate | undefined }> {
  const { beginEpoch } = await import('./begin-epoch.js')
  const since = context.now()
  const made = await beginEpoch(
    context,
    repository,
    recipients.map(settings => ({ settings, label: null, since })),
    null,
  )
  const [first = made.epoch] = await readOwnEpochs(repository.storage, repository.id)
  await writePin(context, repository, first)
  // Another run that began at the same time was faster: its keys are the repository's.
  return made.counts ? made : { epoch: first, keys: undefined }
}

async function sealingWith(
  context: Context,
  repository: Repository,
  { epoch, keys }: { epoch: Epoch; keys: EpochPrivate | undefined },
): Promise<Sealing> {
  const signer = await hostSigner(context)
  const [opened] = await Promise.all([
    keys ?? openedToFinish(context, repository, epoch),
    // `register` wants it next; where it is not there or damaged, that says so.
    readHost(keptOver(context, repository), signer.id).catch(() => undefined),
  ])
  await register(context, repository, signer, { epoch, keys: opened })
  return { epoch: epoch.id, sealingKey: epoch.sealing_key, signer }
}

/**
 * The private half for the first host of a repository: the run that made its keys may have been killed before they vouched for
 * anybody. Where some host is vouched for already, only `keys trust` lets another one in.
 */
async function openedToFinish(
  { keys }: Context,
  { storage }: Repository,
  epoch: Epoch,
): Promise<EpochPrivate | undefined> {
  if ((await storage.list(hostsDirectory)).some(({ kind }) => kind === 'directory')) return undefined
  if (keys.means.every(means => means.kind === 'passphrase' && means.passphrase.from === 'terminal')) return undefined
  try {
    return await keys.open(storage, epoch.id)
  } catch (error) {
    // Whatever keeps it closed, the backup is made, and says that nobody vouches for its host.
    if (error instanceof NexusError && error.kind !== 'interrupted') return undefined
    throw error
  }
}

/**
 * Leaves this host's public half in the repository; where the private half is at hand, the epoch vouches for it.
 * @returns whether it did so only now
 */
export async function register(
  context: Context,
  repository: Repository,
  signer: HostSigner,
  { epoch, keys }: { epoch: Epoch; keys: EpochPrivate | undefined },
): Promise<boolean> {
  const { storage } = repository
  const kept = keptOver(context, repository)
  let host = await readHost(kept, signer.id)
  if (host === undefined) {
    await once(storage.writeOnce(hostFile(signer.id), formatHost(context.host, signer.publicKey, context.now())))
    host = await readHost(kept, signer.id)
  }
  if (host === undefined || keys === undefined || (await isVouchedFor(kept, host, [epoch]))) return false
  await once(storage.writeOnce(vouchFile(host.id, epoch.id), formatVouch(host, epoch.id, keys, context.now())))
  return true
}

/** Two runs of this host write the same. */
export async function once(writing: Promise<void>): Promise<void> {
  try {
    await writing
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'exists') throw error
  }
}

/**
 * Makes sure that a repository without keys never had any: somebody may have taken them away. One that holds copies has
 * those of the repository that they come from, to which it seals nothing itself.
 * @throws NexusError damage `keys_missing`, refused `keys_of_copies`
 */
export async function assertNeverSealed(
  { location, storage, id }: Repository,
  manifests: readonly Manifest[],
): Promise<void> {
  const sealed = manifests.find(({ encryption }) => encryption !== undefined)
  if (sealed === undefined) return
  const epochs = await readEpochs(storage)
  const its = epochs.find(epoch => epoch.id === sealed.encryption?.epoch)
  if (its !== undefined && epochs.every(epoch => epoch.repository !== id)) {
    const message = `${sealed.id} in ${location} is an encrypted copy, and the repository has no keys of its own for new backups`
    throw new NexusError('refused', 'keys_of_copies', message, {
      hint: `nothing was written; give it some: nexus-backup keys add key-file=FILE --repo ${location}`,
    })
  }
  throw new NexusError('damage', 'keys_missing', `${sealed.id} is encrypted, but the keys of ${location} are gone`, {
    hint: 'put the directory keys back from another copy of the repository; nothing was written',
  })
}

export function notEncrypted({ location }: Repository): NexusError {
  return new NexusError(
    'refused',
    'encryption_missing',
    `encryption is asked for, but the repository ${location} is not encrypted`,
    {
      hint: `nothing was written; turn it on for the backups to come: nexus-backup keys add key-file=FILE --repo ${location}`,
    },
  )
}
