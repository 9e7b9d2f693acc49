import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { recorded } from '../../journal/recorded.js'
import type { Journal } from '../../journal/types.js'
import type { EpochPrivate } from '../../keys/epoch-keys.js'
import type { Epoch } from '../../repository/keys/epoch.js'
import { keyFileLimit, recipientFile } from '../../repository/keys/key-layout.js'
import { begunEpochs, readEpochs, readRecipients } from '../../repository/keys/key-room.js'
import type { RecipientDocument } from '../../repository/keys/recipient-file.js'
import { formatRemoval } from '../../repository/keys/removal-file.js'
import { fromThere } from '../../repository/keys/unwrap.js'
import { openRepository } from '../../repository/open.js'
import type { Repository } from '../../repository/types.js'
import { once } from '../sealing/sealing-for.js'
import { epochHeads } from './epoch-heads.js'
import { forgetKeys } from './kept-keys.js'
import { withKeysLocked } from './keys-locked.js'
import { notEncrypted } from './repository-keys.js'
import type { KeysRemoveResult } from './results.js'
import { testRecipients } from './test-keys.js'

export interface KeysRemoveRequest {
  repository: RepositorySettings
  id: string
  /** Also when nobody who stays can be proven to open the repository from here. */
  force: boolean
  dryRun: boolean
}

/**
 * Takes a recipient out of every epoch, those that came with copies included. What it has opened it may have kept: only a
 * rotation keeps it out of what comes.
 * @throws NexusError refused for the last recipient, and when none of those who stay opens the repository here; locked
 */
export async function removeKey(
  context: Context,
  journal: Journal,
  request: KeysRemoveRequest,
): Promise<KeysRemoveResult> {
  const repository = await openRepository(request.repository)
  const { location, storage } = repository
  const subject = { operation: 'keys remove', source: null, repository: location }
  const removing = async (): Promise<KeysRemoveResult> => {
    const holders = await assertOthers(context, repository, request)
    if (!request.dryRun) for (const epoch of holders) await takeOut(context, repository, epoch, request.id)
    if ((await readEpochs(storage)).some(epoch => epoch.repository !== repository.id)) {
      context.warn(
        `${location} holds copies: whoever is still a recipient where they come from comes back with the next nexus-backup copy, so take ${request.id} out there as well`,
      )
    }
    context.warn(
      `whoever has the key ${request.id} and a copy of ${location} still opens what was made until now: nexus-backup keys rotate keeps it out of what comes`,
    )
    return { command: 'keys remove', repository: location, removed: request.id }
  }
  return recorded(context, journal, subject, () =>
    request.dryRun ? removing() : withKeysLocked(context, repository, 'keys remove', removing),
  )
}

/**
 * Takes a recipient out of one epoch. Hosts keep what opens their repositories and put it back where it is missing, so the
 * epoch gives its word that this one is meant to be out; this host forgets it.
 */
async function takeOut(context: Context, repository: Repository, epoch: string, id: string): Promise<void> {
  const { storage, location } = repository
  const name = recipientFile(epoch, id)
  const bytes = await storage.readSmall(name, keyFileLimit)
  const keys = await openedOrNone(context, storage, epoch)
  if (keys === undefined) {
    context.warn(
      `no key at hand opens ${epoch}, so other hosts that keep ${id} put it back into ${location}: remove it again with --key-file FILE or --passphrase-file FILE of one who stays`,
    )
  } else {
    const removal = formatRemoval({ epoch, id, bytes }, keys, context.now())
    await once(storage.writeOnce(removal.name, removal.bytes))
  }
  await forgetKeys(context, repository, [name])
  await storage.removeFile(name)
}

async function openedOrNone(
  { keys }: Context,
  storage: Repository['storage'],
  epoch: string,
): Promise<EpochPrivate | undefined> {
  try {
    return await keys.open(storage, epoch)
  } catch (error) {
    if (error instanceof NexusError && (error.kind === 'refused' || error.kind === 'damage')) return undefined
    throw error
  }
}

/**
 * What the recipient opens must open without it: every epoch, those of other repositories whose backups were copied here
 * too. Returns the epochs that have it.
 */
async function assertOthers(
  context: Context,
  repository: Repository,
  { id, force, repository: settings }: KeysRemoveRequest,
): Promise<string[]> {
  const { storage, location } = repository
  const epochs = await readEpochs(storage)
  if (epochs.length === 0) throw notEncrypted(repository)
  const recipients = new Map<string, RecipientDocument[]>()
  for (const epoch of epochs) recipients.set(epoch.id, await readRecipients(storage, epoch.id))
  const others = (epoch: string) => (recipients.get(epoch) ?? []).filter(recipient => recipient.id !== id)
  const holders = epochs.filter(epoch => others(epoch.id).length < (recipients.get(epoch.id)?.length ?? 0))
  if (holders.length === 0) {
    const heads = await epochHeads(context, repository)
    throw unknown(
      id,
      location,
      heads.flatMap(epoch => recipients.get(epoch.id) ?? []),
    )
  }
  const tested = new Map<string, Promise<boolean>>()
  const isProven = (epoch: string) => {
    const proof = tested.get(epoch) ?? isOpenedByOther(context, repository, { epoch, id, settings })
    tested.set(epoch, proof)
    return proof
  }
  for (const holder of await begunEpochs(storage, holders, repository.id)) {
    const staying = fromThere(holder, epochs).filter(epoch => others(epoch.id).length > 0)
    if (staying.length === 0) throw last(id, location, holder, repository.id)
    // The newest first: in all but copies that is the current one.
    if (!force && !(await anyOf(staying.map(epoch => epoch.id).reverse(), isProven))) {
      throw untested(location, [...new Set(staying.flatMap(epoch => others(epoch.id)).map(one => one.id))])
    }
  }
  return holders.map(epoch => epoch.id)
}

async function anyOf(epochs: readonly string[], isProven: (epoch: string) => Promise<boolean>): Promise<boolean> {
  for (const epoch of epochs) if (await isProven(epoch)) return true
  return false
}

async function isOpenedByOther(
  context: Context,
  repository: Repository,
  { epoch, id, settings }: { epoch: string; id: string; settings: RepositorySettings },
): Promise<boolean> {
  const tested = await testRecipients(context, repository, epoch, settings)
  return tested.some(recipient => recipient.id !== id && recipient.status === 'ok')
}

function unknown(id: string, location: string, recipients: readonly RecipientDocument[]): NexusError {
  return new NexusError('not-found', 'recipient_not_found', `${location} has no recipient ${id}`, {
    hint: `its recipients are: ${[...new Set(recipients.map(recipient => recipient.id))].join(', ')}`,
  })
}

function last(id: string, location: string, epoch: Epoch, own: string): NexusError {
  if (epoch.repository === own) {
    return new NexusError('refused', 'last_recipient', `${id} is the last one who can open ${location}`, {
      hint: 'without it every backup in it would be lost; add another first: nexus-backup keys add key-file=FILE',
    })
  }
  const message = `${id} is the last one who can open what ${location} holds of another repository`
  return new NexusError('refused', 'last_recipient', message, {
    hint: 'without it those backups would be lost; add another where they come from (nexus-backup keys add key-file=FILE --repo DIR), then run nexus-backup copy',
  })
}

function untested(location: string, others: readonly string[]): NexusError {
  return new NexusError('refused', 'others_untested', `nobody who stays could open ${location} from here`, {
    hint: `prove one of them first, for example with --key-file FILE; or go on without proof: --force; they are: ${others.join(', ')}`,
  })
}
