import type { RepositorySettings } from '../../config/settings.js'
import { defaultMaxKeyAge } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import type { Epoch } from '../../repository/keys/epoch.js'
import { readRecipients } from '../../repository/keys/key-room.js'
import type { RecipientDocument } from '../../repository/keys/recipient-file.js'
import type { Repository } from '../../repository/types.js'
import { readCurrent } from '../sealing/current-epoch.js'
import { readPin } from '../sealing/host-keys.js'
import { assertSamePlace } from '../sealing/known-places.js'
import type { ListedRecipient } from './results.js'

const DAY_MS = 24 * 3600 * 1000

/**
 * The epoch that new backups are sealed to; undefined where the repository has no keys of its own.
 * @throws NexusError damage when its own do not follow what this host knows, or it knows another repository there
 */
export async function currentOrNone(context: Context, repository: Repository): Promise<Epoch | undefined> {
  // Before the keys themselves: another run begins an epoch meanwhile, and this host knows it last.
  const pin = await readPin(context, repository.id)
  await assertSamePlace(context, repository)
  return readCurrent(context, repository, pin)
}

/** The epoch that new backups are sealed to. @throws NexusError as `currentOrNone`, not-found `not_encrypted` */
export async function currentOf(context: Context, repository: Repository): Promise<Epoch> {
  const current = await currentOrNone(context, repository)
  if (current !== undefined) return current
  throw notEncrypted(repository)
}

export function notEncrypted({ location }: Repository): NexusError {
  return new NexusError('not-found', 'not_encrypted', `the repository ${location} is not encrypted`, {
    hint: `turn it on for the backups to come: nexus-backup keys add key-file=FILE --repo ${location}`,
  })
}

/** A recipient with its age. */
export function listedRecipient(
  { id, kind, label, since }: RecipientDocument,
  now: Date,
  { encryption }: RepositorySettings,
): ListedRecipient {
  const age = Math.max(0, now.getTime() - Date.parse(since))
  const isOld = age > (encryption?.maxKeyAge ?? defaultMaxKeyAge)
  return { id, kind, label, since, age_days: Math.floor(age / DAY_MS), is_old: isOld }
}

/** Warns of keys past the configured age. */
export function warnOfAge(context: Context, repository: Repository, recipients: readonly ListedRecipient[]): void {
  for (const { id, age_days: days, is_old: isOld } of recipients) {
    if (!isOld) continue
    context.warn(
      `the key ${id} of ${repository.location} is ${days} days old: add another, test it, remove this one, and nexus-backup keys rotate`,
    )
  }
}

/** The same for who takes a full. */
export async function warnOfOldKeys(
  context: Context,
  repository: Repository,
  settings: RepositorySettings,
  epoch: string,
): Promise<void> {
  const recipients = await readRecipients(repository.storage, epoch, ({ message }) => context.warn(message))
  const now = context.now()
  warnOfAge(
    context,
    repository,
    recipients.map(recipient => listedRecipient(recipient, now, settings)),
  )
}
