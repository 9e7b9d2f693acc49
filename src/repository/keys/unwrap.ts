import { NexusError } from '../../errors.js'
import { type EpochPrivate, epochPrivate } from '../../keys/epoch-keys.js'
import { describeRecipient, type KeyTools, type RecipientSettings } from '../../keys/recipient.js'
import { unwrapWith } from '../../keys/wrapping.js'
import { type Epoch, follows, previousSecret } from './epoch.js'
import { keysDamaged } from './key-document.js'
import { epochFile, type KeyReader } from './key-layout.js'
import { readEpochs, readRecipients } from './key-room.js'
import type { RecipientDocument } from './recipient-file.js'

/** What may open an epoch. */
interface Means {
  means: readonly RecipientSettings[]
  tools: KeyTools
  /** Whether there is anything but a question on the terminal. */
  hasMeans: boolean
  /** An epoch that is open already, by its public key. */
  known(sealingKey: string): Promise<EpochPrivate | undefined>
}

/** The document of an epoch, and those of all. @throws NexusError damage */
export async function findEpoch(storage: KeyReader, id: string): Promise<{ epoch: Epoch; epochs: Epoch[] }> {
  const damaged = new Map<string, NexusError>()
  const epochs = await readEpochs(storage, (error, damagedId) => damaged.set(damagedId, error))
  const epoch = epochs.find(candidate => candidate.id === id)
  const damage = damaged.get(id)
  if (damage !== undefined) throw damage
  if (epoch === undefined) throw keysDamaged(epochFile(id), 'it is missing')
  return { epoch, epochs }
}

/**
 * The private half of an epoch: through its own recipients, else through a later epoch, to which its secret was sealed when
 * that one began.
 * @throws NexusError refused `key_missing` when no means are known, `key_wrong` when none of them opens it; damage
 */
export async function unwrapEpoch(
  storage: KeyReader,
  epoch: Epoch,
  epochs: readonly Epoch[],
  means: Means,
): Promise<EpochPrivate> {
  const tried: string[] = []
  const recipients: RecipientDocument[] = []
  for (const member of fromThere(epoch, epochs)) {
    // One who is damaged does not keep the others out.
    const own = await readRecipients(storage, member.id, ({ message }) => tried.push(message))
    recipients.push(...own)
    // The wanted one's own entry is this very search.
    const known = member === epoch ? undefined : await means.known(member.sealing_key.toString('base64'))
    const keys = known ?? (await tryAll(member, own, means, tried))
    if (keys !== undefined) return backTo(epoch, member, keys, epochs)
  }
  throw means.hasMeans || tried.length > 0 ? wrong(storage, tried, recipients) : missing(storage, recipients)
}

async function tryAll(
  epoch: Epoch,
  recipients: readonly RecipientDocument[],
  { means, tools }: Means,
  tried: string[],
): Promise<EpochPrivate | undefined> {
  for (const one of means) {
    let fits = false
    for (const recipient of recipients) {
      const answer = await unwrapWith(one, epoch.id, recipient, tools)
      if (answer === undefined) continue
      fits = true
      if ('problem' in answer) tried.push(`${describeRecipient(one)}: ${answer.problem}`)
      else return matching(epoch, answer.secret, recipient)
    }
    // Whoever sits at a terminal was not asked then.
    if (!fits && !isTerminal(one)) tried.push(`${describeRecipient(one)} is no recipient`)
  }
  return undefined
}

/** Whether somebody is asked for what opens it. */
function isTerminal(means: RecipientSettings): boolean {
  return means.kind === 'passphrase' && means.passphrase.from === 'terminal'
}

/**
 * An epoch and all that came after it, each made by who held the one before: an interrupted rotation and the one run again
 * both follow the same.
 */
export function fromThere(epoch: Epoch, epochs: readonly Epoch[]): Epoch[] {
  const members = [epoch]
  for (const known of members) {
    members.push(...epochs.filter(candidate => follows(candidate, known) && !members.includes(candidate)))
  }
  return members
}

/** From a later epoch's private half to an earlier one's. */
async function backTo(wanted: Epoch, from: Epoch, keys: EpochPrivate, epochs: readonly Epoch[]): Promise<EpochPrivate> {
  let [epoch, opened] = [from, keys]
  while (epoch.id !== wanted.id) {
    const before = epochs.find(({ id }) => id === epoch.previous)
    const secret = await previousSecret(epoch, opened)
    if (before === undefined || secret === undefined) {
      throw keysDamaged(epochFile(epoch.id), 'it does not lead to the epoch before it')
    }
    opened = halves(before, secret)
    epoch = before
  }
  return opened
}

/** The pair of an epoch. @throws NexusError damage when the secret is not that of its public half */
function halves(epoch: Epoch, secret: Buffer): EpochPrivate {
  const keys = epochPrivate(secret)
  if (keys.sealing.equals(epoch.sealing_key) && keys.signing.equals(epoch.signing_key)) return keys
  throw keysDamaged(epochFile(epoch.id), 'its public half does not belong to the private one')
}

function matching(epoch: Epoch, secret: Buffer, { id }: RecipientDocument): EpochPrivate {
  if (secret.length === 32) return halves(epoch, secret)
  throw keysDamaged(`recipient ${id}`, 'what it holds is no secret of an epoch')
}

/** How those who can open a repository are named, for messages. */
function listed(recipients: readonly RecipientDocument[]): string {
  const names = recipients.map(({ id, kind, label }) =>
    label === null ? `${id} (${kind})` : `${id} (${kind}, ${label})`,
  )
  return [...new Set(names)].join(', ') || 'nobody'
}

function missing(storage: KeyReader, recipients: readonly RecipientDocument[]): NexusError {
  return new NexusError('refused', 'key_missing', `${storage.location} is encrypted, and there is no key to open it`, {
    hint: `give --key-file FILE or --passphrase-file FILE, or configure encryption; it opens for: ${listed(recipients)}`,
  })
}

function wrong(storage: KeyReader, tried: readonly string[], recipients: readonly RecipientDocument[]): NexusError {
  const why = [...new Set(tried)].join('; ')
  return new NexusError('refused', 'key_wrong', `no key at hand opens ${storage.location}: ${why}`, {
    hint: `give another one with --key-file FILE or --passphrase-file FILE; it opens for: ${listed(recipients)}`,
  })
}
