import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { recorded } from '../../journal/recorded.js'
import type { Journal } from '../../journal/types.js'
import { recipientFile } from '../../repository/keys/key-layout.js'
import { readEpochs, readRecipients } from '../../repository/keys/key-room.js'
import { openRepository } from '../../repository/open.js'
import type { Repository } from '../../repository/types.js'
import { currentOf } from './repository-keys.js'
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
 * Takes a recipient out of every epoch. What it has opened it may have kept: only a rotation keeps it out of what comes.
 * @throws NexusError refused for the last recipient, and when none of those who stay opens the repository here
 */
export async function removeKey(
  context: Context,
  journal: Journal,
  request: KeysRemoveRequest,
): Promise<KeysRemoveResult> {
  const repository = await openRepository(request.repository)
  const { location, storage } = repository
  const subject = { operation: 'keys remove', source: null, repository: location }
  return recorded(context, journal, subject, async () => {
    await assertOthers(context, repository, request)
    if (!request.dryRun) {
      for (const { id: epoch } of await readEpochs(storage)) await storage.removeFile(recipientFile(epoch, request.id))
    }
    context.warn(
      `whoever has the key ${request.id} and a copy of ${location} still opens what was made until now: nexus-backup keys rotate keeps it out of what comes`,
    )
    return { command: 'keys remove', repository: location, removed: request.id }
  })
}

async function assertOthers(
  context: Context,
  repository: Repository,
  { id, force, repository: settings }: KeysRemoveRequest,
): Promise<void> {
  const { storage, location } = repository
  const current = await currentOf(context, repository)
  const recipients = await readRecipients(storage, current.id)
  const others = recipients.filter(recipient => recipient.id !== id)
  if (others.length === recipients.length) {
    throw new NexusError('not-found', 'recipient_not_found', `${location} has no recipient ${id}`, {
      hint: `its recipients are: ${recipients.map(recipient => recipient.id).join(', ')}`,
    })
  }
  if (others.length === 0) {
    throw new NexusError('refused', 'last_recipient', `${id} is the last one who can open ${location}`, {
      hint: 'without it every backup in it would be lost; add another first: nexus-backup keys add key-file=FILE',
    })
  }
  if (force) return
  const tested = await testRecipients(context, repository, current.id, settings)
  if (tested.some(recipient => recipient.id !== id && recipient.status === 'ok')) return
  throw new NexusError('refused', 'others_untested', `nobody who stays could open ${location} from here`, {
    hint: `prove one of them first, for example with --key-file FILE; or go on without proof: --force; they are: ${others.map(recipient => recipient.id).join(', ')}`,
  })
}
