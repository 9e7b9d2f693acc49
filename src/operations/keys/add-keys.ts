import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { recorded } from '../../journal/recorded.js'
import type { Journal } from '../../journal/types.js'
import type { RecipientSettings } from '../../keys/recipient.js'
import { wrapFor } from '../../keys/wrapping.js'
import { recipientFile } from '../../repository/keys/key-layout.js'
import { currentEpoch, readOwnEpochs, readRecipients } from '../../repository/keys/key-room.js'
import { formatRecipient } from '../../repository/keys/recipient-file.js'
import { openRepository } from '../../repository/open.js'
import type { Repository } from '../../repository/types.js'
import { beginEpoch } from '../sealing/begin-epoch.js'
import { hostSigner, readPin, writePin } from '../sealing/host-keys.js'
import { register } from '../sealing/sealing-for.js'
import type { KeysAddResult } from './results.js'

export interface KeysAddRequest {
  repository: RepositorySettings
  recipients: readonly RecipientSettings[]
  label: string | null
}

/**
 * Lets further recipients in. A repository that is not encrypted becomes so for the backups to come, with these
 * recipients; in one that is, somebody who can open it must be at hand.
 * @throws NexusError refused when no key here opens it, or a recipient is one already
 */
export async function addKeys(context: Context, journal: Journal, request: KeysAddRequest): Promise<KeysAddResult> {
  const repository = await openRepository(request.repository)
  const subject = { operation: 'keys add', source: null, repository: repository.location }
  return recorded(context, journal, subject, async () => {
    const epochs = await readOwnEpochs(repository.storage, repository.id)
    const current = currentEpoch(epochs, await readPin(context, repository.id))
    return current === undefined ? begin(context, repository, request) : add(context, repository, request, current.id)
  })
}

async function begin(
  context: Context,
  repository: Repository,
  { recipients, label }: KeysAddRequest,
): Promise<KeysAddResult> {
  const since = context.now()
  const wanted = recipients.map(settings => ({ settings, label, since }))
  const { epoch, keys } = await beginEpoch(context, repository, wanted, null)
  await writePin(context, repository.id, epoch)
  await register(context, repository, await hostSigner(context), { epoch, keys })
  const added = (await readRecipients(repository.storage, epoch.id)).map(({ id }) => id)
  return { command: 'keys add', repository: repository.location, added, began: true }
}

async function add(
  context: Context,
  repository: Repository,
  { recipients, label }: KeysAddRequest,
  epoch: string,
): Promise<KeysAddResult> {
  const { storage, location } = repository
  const { secret } = await context.keys.open(storage, epoch)
  const added: string[] = []
  for (const settings of recipients) {
    const wrapped = await wrapFor(settings, epoch, secret, context.keys.tools)
    const now = context.now()
    const bytes = formatRecipient(epoch, wrapped, { label, since: now, added: now })
    try {
      await storage.writeOnce(recipientFile(epoch, wrapped.id), bytes)
    } catch (error) {
      if (!(error instanceof NexusError) || error.code !== 'exists') throw error
      throw new NexusError('refused', 'recipient_exists', `${wrapped.id} can open ${location} already`, {
        hint: `see who can: nexus-backup keys list --repo ${location}`,
      })
    }
    added.push(wrapped.id)
  }
  return { command: 'keys add', repository: location, added, began: false }
}
