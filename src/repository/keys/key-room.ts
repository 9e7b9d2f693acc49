import * as v from 'valibot'
import { NexusError } from '../../errors.js'
import { mapParallel } from '../parallel.js'
import type { Storage } from '../storage/storage.js'
import { type Epoch, follows, parseEpoch } from './epoch.js'
import { formatKeyDocument, keysDamaged, parseKeyDocument } from './key-document.js'
import {
  epochFile,
  firstFile,
  isEpochId,
  isRecipientId,
  keyFileLimit,
  keysDirectory,
  recipientFile,
  recipientsDirectory,
} from './key-layout.js'
import { parseRecipient, type RecipientDocument } from './recipient-file.js'

/** Every epoch in a repository, oldest first. Empty for one that is not encrypted. @throws NexusError damage */
export async function readEpochs(storage: Storage): Promise<Epoch[]> {
  const found = await storage.list(keysDirectory)
  const ids = found.filter(({ name, kind }) => kind === 'directory' && isEpochId(name)).map(({ name }) => name)
  const epochs = await mapParallel(ids.sort(), 8, async id => {
    try {
      return parseEpoch(await storage.readSmall(epochFile(id), keyFileLimit), id)
    } catch (error) {
      if (!(error instanceof NexusError) || error.kind !== 'not-found') throw error
      // Its recipients come first, itself last: an unfinished rotation is none.
      return undefined
    }
  })
  return epochs.filter(epoch => epoch !== undefined)
}

const firstSchema = v.looseObject({ format: v.literal(1), epoch: v.pipe(v.string(), v.check(isEpochId)) })

/** Names the first epoch of a repository, once: of two that begin at the same time only one counts. */
export async function writeFirst(storage: Storage, epoch: string): Promise<void> {
  try {
    await storage.writeOnce(firstFile, formatKeyDocument({ format: 1, epoch }))
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'exists') throw error
  }
}

/** A repository's own epochs, oldest first, as far as one follows the other; empty where it is not encrypted. */
export async function readOwnEpochs(storage: Storage, repository: string): Promise<Epoch[]> {
  const epochs = await readEpochs(storage)
  const first = await readFirst(storage)
  if (first === undefined) return []
  const own = epochs.filter(epoch => epoch.repository === repository)
  const begun = own.find(({ id }) => id === first)
  if (begun === undefined) throw keysDamaged(epochFile(first), 'it is missing')
  const line = [begun]
  for (let last = begun; ; ) {
    const next = own.filter(epoch => follows(epoch, last)).at(-1)
    if (next === undefined || line.includes(next)) return line
    line.push(next)
    last = next
  }
}

async function readFirst(storage: Storage): Promise<string | undefined> {
  try {
    return parseKeyDocument(firstSchema, await storage.readSmall(firstFile, keyFileLimit), firstFile).epoch
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'not-found') return undefined
    throw error
  }
}

/** What a host remembers of a repository's keys, so that nobody can put others in their place. */
export interface EpochPin {
  id: string
  /** Raw, base64. */
  signing_key: string
}

/**
 * The epoch that new backups are sealed to: the last one of a repository's own.
 * @param pin the epoch that this host knows: the last must be it, or follow it
 * @returns undefined where the repository has no keys of its own
 * @throws NexusError damage when what is there does not follow what is known
 */
export function currentEpoch(own: readonly Epoch[], pin: EpochPin | undefined): Epoch | undefined {
  if (pin !== undefined) {
    const known = own.find(({ id }) => id === pin.id)
    const isSame = known?.signing_key.toString('base64') === pin.signing_key
    if (!isSame) {
      const problem = known === undefined ? 'is gone' : 'was replaced'
      throw keysDamaged(
        keysDirectory,
        `epoch ${pin.id}, which this host knows, ${problem}; nothing is sealed to keys of unknown origin`,
      )
    }
  }
  return own.at(-1)
}

/** Who can open an epoch, oldest first. @throws NexusError damage */
export async function readRecipients(storage: Storage, epoch: string): Promise<RecipientDocument[]> {
  const found = await storage.list(recipientsDirectory(epoch))
  const ids = found.flatMap(({ name }) => {
    const id = name.endsWith('.json') ? name.slice(0, -'.json'.length) : ''
    return isRecipientId(id) ? [id] : []
  })
  const recipients = await mapParallel(ids, 8, async id =>
    parseRecipient(await storage.readSmall(recipientFile(epoch, id), keyFileLimit), epoch, id),
  )
  return recipients.sort((a, b) => (a.added < b.added ? -1 : a.added > b.added ? 1 : a.id < b.id ? -1 : 1))
}
