import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { type EpochPrivate, epochPrivate, newEpochSecret } from '../../keys/epoch-keys.js'
import type { RecipientSettings } from '../../keys/recipient.js'
import { wrapFor } from '../../keys/wrapping.js'
import { type Epoch, formatEpoch, parseEpoch } from '../../repository/keys/epoch.js'
import { epochFile, recipientFile } from '../../repository/keys/key-layout.js'
import { writeFirst } from '../../repository/keys/key-room.js'
import { formatRecipient } from '../../repository/keys/recipient-file.js'
import type { Repository } from '../../repository/types.js'

/** One who is to open the epoch, and since when he could open the repository. */
export interface NewRecipient {
  settings: RecipientSettings
  label: string | null
  /** The name it has in the epoch before. */
  id?: string
  since: Date
}

/**
 * Begins an epoch: its recipients first, itself last, so that one without recipients never comes to be.
 * @param before the epoch it follows, opened; null for a repository's first
 */
export async function beginEpoch(
  { keys: access, now: clock }: Pick<Context, 'keys' | 'now'>,
  repository: Repository,
  recipients: readonly NewRecipient[],
  before: { id: string; keys: EpochPrivate } | null,
): Promise<{ epoch: Epoch; keys: EpochPrivate }> {
  if (recipients.length === 0) throw nobody()
  const { storage } = repository
  const now = clock()
  const keys = epochPrivate(newEpochSecret())
  const { id, bytes } = await formatEpoch(keys, { repository: repository.id, now }, before)
  for (const { settings, label, since, id: known } of recipients) {
    const wrapped = await wrapFor(settings, id, keys.secret, access.tools, known)
    await storage.writeOnce(recipientFile(id, wrapped.id), formatRecipient(id, wrapped, { label, since, added: now }))
  }
  await storage.writeOnce(epochFile(id), bytes)
  if (before === null) await writeFirst(storage, id)
  access.remember(keys)
  return { epoch: parseEpoch(bytes, id), keys }
}

function nobody(): NexusError {
  return new NexusError('usage', 'recipients_missing', 'an encrypted repository needs somebody who can open it', {
    hint: 'make a key file with nexus-backup keys create FILE, and name it with --key-file FILE or in the configuration',
  })
}
