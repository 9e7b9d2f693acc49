import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { recorded } from '../../journal/recorded.js'
import type { Journal } from '../../journal/types.js'
import type { EpochPrivate } from '../../keys/epoch-keys.js'
import type { RecipientSettings } from '../../keys/recipient.js'
import { wrapFor } from '../../keys/wrapping.js'
import type { Epoch } from '../../repository/keys/epoch.js'
import { KeyAccess } from '../../repository/keys/key-access.js'
import { recipientFile } from '../../repository/keys/key-layout.js'
import { readRecipients } from '../../repository/keys/key-room.js'
import { formatRecipient } from '../../repository/keys/recipient-file.js'
import { openRepository } from '../../repository/open.js'
import type { Repository } from '../../repository/types.js'
import { attestCounted } from '../copy/attest-lines.js'
import { beginEpoch } from '../sealing/begin-epoch.js'
import { hostSigner, readPin } from '../sealing/host-keys.js'
import { writePin } from '../sealing/known-places.js'
import { renewRecoveryOf, signRecoveryOf } from '../sealing/renew-recovery.js'
import { register } from '../sealing/sealing-for.js'
import { withKeysLocked } from './keys-locked.js'
import { type LetIn, letIntoCopies } from './let-into-copies.js'
import { currentOrNone } from './repository-keys.js'
import type { KeysAddResult } from './results.js'

export interface KeysAddRequest {
  repository: RepositorySettings
  recipients: readonly RecipientSettings[]
  label: string | null
}

/**
 * Lets further recipients in. A repository that is not encrypted becomes so for the backups to come, with these
 * recipients; in one that is, somebody who can open it must be at hand. Copies of encrypted repositories that lie in it are
 * opened for them too.
 * @throws NexusError refused when no key here opens it, or all of them are recipients already; locked
 */
export async function addKeys(context: Context, journal: Journal, request: KeysAddRequest): Promise<KeysAddResult> {
  const repository = await openRepository(request.repository)
  const subject = { operation: 'keys add', source: null, repository: repository.location }
  return recorded(context, journal, subject, () =>
    withKeysLocked(context, repository, 'keys add', async () => {
      const current = await currentOrNone(context, repository)
      return current === undefined ? begin(context, repository, request) : add(context, repository, request, current)
    }),
  )
}

async function begin(context: Context, repository: Repository, request: KeysAddRequest): Promise<KeysAddResult> {
  const { recipients, label } = request
  const since = context.now()
  const wanted = recipients.map(settings => ({ settings, label, since }))
  const signer = await hostSigner(context)
  await attestCounted(context, repository, signer)
  const made = await beginEpoch(context, repository, wanted, null)
  if (!made.counts) {
    // A create with --init was faster: its keys are the repository's.
    const current = await currentOrNone(context, repository)
    if (current !== undefined) return add(context, repository, request, current)
  }
  await writePin(context, repository, made.epoch)
  await register(context, repository, signer, made)
  await signRecoveryOf(context, repository)
  const newcomers = recipients.map((settings, at) => ({ settings, id: made.ids[at] ?? '' }))
  await letIntoCopies(context, repository, newcomers, label)
  return { command: 'keys add', repository: repository.location, added: made.ids, began: true }
}

/** Everybody is reached before anything is written. Those who are let in already are passed over. */
async function add(
  context: Context,
  repository: Repository,
  { recipients, label }: KeysAddRequest,
  epoch: Epoch,
): Promise<KeysAddResult> {
  const { storage, location } = repository
  const keys = await opened(context, storage, epoch.id, recipients)
  const known = new Set((await readRecipients(storage, epoch.id)).map(({ id }) => id))
  const now = context.now()
  const documents = new Map<string, Buffer>()
  const newcomers: LetIn[] = []
  for (const settings of recipients) {
    const wrapped = await wrapFor(settings, epoch.id, keys.secret, context.keys.tools)
    newcomers.push({ settings, id: wrapped.id })
    documents.set(wrapped.id, formatRecipient(epoch.id, wrapped, { label, since: now, added: now }, keys.secret))
  }
  await renewRecoveryOf(context, repository)
  await signRecoveryOf(context, repository)
  const ids = [...documents.keys()]
  const added = ids.filter(id => !known.has(id))
  for (const id of added) await storage.writeOnce(recipientFile(epoch.id, id), documents.get(id) ?? Buffer.alloc(0))
  const isCopyOpened = await letIntoCopies(context, repository, newcomers, label)
  if (((await isFinishedNow(context, repository, { epoch, keys })) || isCopyOpened) && added.length === 0) {
    return { command: 'keys add', repository: location, added: ids, began: false }
  }
  if (added.length === 0) throw exists(ids, location)
  for (const id of ids.filter(one => known.has(one))) context.warn(`${id} can open ${location} already`)
  return { command: 'keys add', repository: location, added, began: false }
}

/** The private half, by whom we may be, else by those who are named: of a run that was killed they may be let in already. */
async function opened(
  { keys }: Context,
  storage: Repository['storage'],
  epoch: string,
  recipients: readonly RecipientSettings[],
): Promise<EpochPrivate> {
  try {
    return await keys.open(storage, epoch)
  } catch (error) {
    const named = recipients.filter(({ kind }) => kind === 'key-file')
    return new KeyAccess(named, keys.tools).open(storage, epoch).catch(() => {
      throw error
    })
  }
}

/** What comes last when a repository becomes an encrypted one, in case that run was killed before. */
async function isFinishedNow(
  context: Context,
  repository: Repository,
  opening: { epoch: Epoch; keys: EpochPrivate },
): Promise<boolean> {
  const isUnknown = (await readPin(context, repository.id)) === undefined
  if (isUnknown) await writePin(context, repository, opening.epoch)
  return (await register(context, repository, await hostSigner(context), opening)) || isUnknown
}

function exists(ids: readonly string[], location: string): NexusError {
  return new NexusError('refused', 'recipient_exists', `${ids.join(', ')} can open ${location} already`, {
    hint: `see who can: nexus-backup keys list --repo ${location}`,
  })
}
