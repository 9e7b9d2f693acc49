import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { recorded } from '../../journal/recorded.js'
import type { Journal } from '../../journal/types.js'
import type { EpochPrivate } from '../../keys/epoch-keys.js'
import type { RecipientSettings } from '../../keys/recipient.js'
import { unwrapWith } from '../../keys/wrapping.js'
import { readRecipients } from '../../repository/keys/key-room.js'
import { isLetIn, type RecipientDocument } from '../../repository/keys/recipient-file.js'
import { openRepository } from '../../repository/open.js'
import type { Repository } from '../../repository/types.js'
import { beginEpoch, type NewRecipient } from '../sealing/begin-epoch.js'
import { hostSigner } from '../sealing/host-keys.js'
import { writePin } from '../sealing/known-places.js'
import { register } from '../sealing/sealing-for.js'
import { withKeysLocked } from './keys-locked.js'
import { currentOf } from './repository-keys.js'
import type { KeysRotateResult } from './results.js'

export interface KeysRotateRequest {
  repository: RepositorySettings
  /** Recipients that the new epoch is to be without. */
  without: readonly string[]
  dryRun: boolean
}

/**
 * Begins a new epoch for the same recipients: backups to come are sealed to new keys, and no stored byte of the others
 * changes. Whoever opens the new epoch opens the old ones too; whoever was left out opens nothing new.
 * @throws NexusError refused when a recipient cannot be reached from here, or none would be left; locked
 */
export async function rotateKeys(
  context: Context,
  journal: Journal,
  request: KeysRotateRequest,
): Promise<KeysRotateResult> {
  const repository = await openRepository(request.repository)
  const { location } = repository
  const subject = { operation: 'keys rotate', source: null, repository: location }
  const rotating = () => rotate(context, repository, request)
  return recorded(context, journal, subject, () =>
    request.dryRun ? rotating() : withKeysLocked(context, repository, 'keys rotate', rotating),
  )
}

async function rotate(
  context: Context,
  repository: Repository,
  { without: out, dryRun }: KeysRotateRequest,
): Promise<KeysRotateResult> {
  const { storage, location } = repository
  const current = await currentOf(context, repository)
  const keys = await context.keys.open(storage, current.id)
  const recipients = await readRecipients(storage, current.id)
  const unknown = out.find(id => recipients.every(recipient => recipient.id !== id))
  if (unknown !== undefined) throw notThere(location, unknown, recipients)
  const staying = recipients.filter(({ id }) => !out.includes(id))
  assertLetIn(staying, keys, location)
  const wanted = await reached(context, current.id, staying, location)
  const result = { command: 'keys rotate', repository: location, recipients: staying.map(({ id }) => id) } as const
  const without = [...out]
  if (dryRun) return { ...result, epoch: current.id, without }
  const made = await beginEpoch(context, repository, wanted, { id: current.id, keys })
  if (!made.counts) throw overtaken(location)
  await writePin(context, repository, made.epoch)
  await register(context, repository, await hostSigner(context), made)
  return { ...result, epoch: made.epoch.id, without }
}

/** Only a machine that slept so long that its lease ended comes here. */
function overtaken(location: string): NexusError {
  return new NexusError('locked', 'rotated_meanwhile', `another run rotated the keys of ${location} meanwhile`, {
    hint: 'this one changed nothing; see what there is now: nexus-backup keys list, and run it again if it is still wanted',
  })
}

/**
 * What wraps for a public key asks nobody whose it is: the new secret would go to whoever entered himself. The others open
 * what was wrapped for them first.
 */
function assertLetIn(recipients: readonly RecipientDocument[], { secret }: EpochPrivate, location: string): void {
  const wrapped = recipients.filter(({ kind }) => kind === 'gpg' || kind === 'aws-kms')
  const ids = wrapped.filter(recipient => !isLetIn(recipient, secret)).map(({ id }) => id)
  if (ids.length === 0) return
  const problem = `nobody who opens ${location} has let these in: ${ids.join(', ')}`
  throw new NexusError('refused', 'recipient_forged', problem, {
    hint: `somebody may have put them there; leave them out: ${ids.map(id => `--without ${id}`).join(' ')}; one that is yours is let in again afterwards with nexus-backup keys add`,
  })
}

/** What wraps for each of the recipients again. A public key is enough, anything else must be at hand. */
async function reached(
  context: Context,
  epoch: string,
  recipients: readonly RecipientDocument[],
  location: string,
): Promise<NewRecipient[]> {
  const found: NewRecipient[] = []
  const missing: string[] = []
  for (const recipient of recipients) {
    const settings = await settingsFor(context, epoch, recipient)
    const { id, label, since } = recipient
    if (settings === undefined) missing.push(id)
    else found.push({ settings, label, since: new Date(since), id })
  }
  if (missing.length === 0) return found
  throw new NexusError(
    'refused',
    'recipient_unreached',
    `not everybody who opens ${location} is at hand: ${missing.join(', ')}`,
    {
      hint: `give their keys too (--key-file FILE, --passphrase-file FILE, or the configuration), or leave them out: ${missing.map(id => `--without ${id}`).join(' ')}`,
    },
  )
}

async function settingsFor(
  { keys }: Context,
  epoch: string,
  recipient: RecipientDocument,
): Promise<RecipientSettings | undefined> {
  const { kind, parameters } = recipient
  if (kind === 'gpg') return { kind, fingerprint: String(parameters.fingerprint) }
  if (kind === 'aws-kms') return { kind, key: String(parameters.key) }
  for (const means of keys.means) {
    const answer = await unwrapWith(means, epoch, recipient, keys.tools)
    if (answer !== undefined && 'secret' in answer) return means
  }
  return undefined
}

function notThere(location: string, id: string, recipients: readonly RecipientDocument[]): NexusError {
  return new NexusError('not-found', 'recipient_not_found', `${location} has no recipient ${id}`, {
    hint: `its recipients are: ${recipients.map(recipient => recipient.id).join(', ')}`,
  })
}
