import * as v from 'valibot'
import { NexusError } from '../../errors.js'
import { mapParallel } from '../parallel.js'
import type { Storage } from '../storage/storage.js'
import { type Epoch, fingerprintOf, follows, parseEpoch } from './epoch.js'
import { formatKeyDocument, keysDamaged, parseKeyDocument } from './key-document.js'
import {
  epochFile,
  firstFile,
  isEpochId,
  isRecipientId,
  keyFileLimit,
  keysDirectory,
  nextFile,
  recipientFile,
  recipientsDirectory,
} from './key-layout.js'
import { parseRecipient, type RecipientDocument } from './recipient-file.js'

/** Told of each damaged document, which is then left out; without it damage is thrown. */
export type OnDamage = (error: NexusError, id: string) => void

/** Every epoch in a repository, oldest first. Empty for one that is not encrypted. @throws NexusError damage */
export async function readEpochs(storage: Storage, onDamage?: OnDamage): Promise<Epoch[]> {
  const found = await storage.list(keysDirectory)
  const ids = found.filter(({ name, kind }) => kind === 'directory' && isEpochId(name)).map(({ name }) => name)
  const epochs = await mapParallel(ids.sort(), 8, async id => {
    try {
      return parseEpoch(await storage.readSmall(epochFile(id), keyFileLimit), id)
    } catch (error) {
      if (!(error instanceof NexusError)) throw error
      if (error.kind === 'damage' && onDamage !== undefined) onDamage(error, id)
      else if (error.kind !== 'not-found') throw error
      // Its recipients come first, then itself: what was interrupted before is none.
      return undefined
    }
  })
  return epochs.filter(epoch => epoch !== undefined)
}

const begunSchema = v.looseObject({ format: v.literal(1), epoch: v.pipe(v.string(), v.check(isEpochId)) })

/**
 * Makes an epoch count, once: as the one after another, or as the first. Of two that begin at the same time only one does.
 * @param before id of the epoch that it follows; null for a repository's first
 * @returns whether it is this one that counts
 */
export async function writeBegun(storage: Storage, epoch: string, before: string | null): Promise<boolean> {
  const name = nameOfBegun(before)
  try {
    await storage.writeOnce(name, formatKeyDocument({ format: 1, epoch }))
    return true
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'exists') throw error
    return (await readBegun(storage, before)) === epoch
  }
}

/**
 * A repository's own epochs, oldest first, as far as one follows the other; empty where it is not encrypted.
 * @param onDamage told of what is damaged, with which the line then ends; without it damage is thrown
 */
export async function readOwnEpochs(storage: Storage, repository: string, onDamage?: OnDamage): Promise<Epoch[]> {
  return ownAmong(storage, await readEpochs(storage, onDamage), repository, onDamage)
}

/** The same of epochs that were read already. */
export async function ownAmong(
  storage: Storage,
  epochs: readonly Epoch[],
  repository: string,
  onDamage?: OnDamage,
): Promise<Epoch[]> {
  const first = await begunOrTold(storage, null, onDamage)
  if (first === undefined) return []
  const own = ofRepository(epochs, repository)
  const following = new Map(
    await mapParallel([...own.keys()], 8, async id => [id, await begunOrTold(storage, id, onDamage)] as const),
  )
  // Another run begins an epoch meanwhile: what names it comes after it, so a second look finds it.
  if ([first, ...following.values()].some(id => id !== undefined && !own.has(id))) {
    for (const [id, epoch] of ofRepository(await readEpochs(storage, () => {}), repository)) own.set(id, epoch)
  }
  const line: Epoch[] = []
  const ends = (id: string, problem: string) => {
    if (onDamage === undefined) throw keysDamaged(epochFile(id), problem)
    onDamage(keysDamaged(epochFile(id), problem), id)
    return line
  }
  for (let id: string | undefined = first; id !== undefined; id = following.get(id)) {
    const next = own.get(id)
    const last = line.at(-1)
    if (next === undefined) return ends(id, 'it is missing')
    if (line.includes(next) || (last !== undefined && !follows(next, last))) {
      return ends(id, 'it was not made by those who hold the epoch before it')
    }
    line.push(next)
  }
  return line
}

function ofRepository(epochs: readonly Epoch[], repository: string): Map<string, Epoch> {
  return new Map(epochs.filter(epoch => epoch.repository === repository).map(epoch => [epoch.id, epoch]))
}

/** @param onDamage told of a damaged file, which then names none */
async function begunOrTold(storage: Storage, before: string | null, onDamage?: OnDamage): Promise<string | undefined> {
  try {
    return await readBegun(storage, before)
  } catch (error) {
    if (onDamage === undefined || !(error instanceof NexusError) || error.kind !== 'damage') throw error
    onDamage(error, before ?? '')
    return undefined
  }
}

/**
 * The epochs that something can be sealed to: the first of each line, and those that are named by the one before. An
 * interrupted rotation leaves one that nothing ever will be.
 */
export async function begunEpochs(storage: Storage, epochs: readonly Epoch[], repository: string): Promise<Epoch[]> {
  const first = await readBegun(storage, null)
  const begun = await mapParallel(epochs, 8, async epoch => {
    if (epoch.previous !== null) return (await readBegun(storage, epoch.previous)) === epoch.id
    return epoch.repository !== repository || epoch.id === first
  })
  return epochs.filter((_, n) => begun[n])
}

/** The epoch that counts as the one after another, or as the first; undefined where there is none. */
async function readBegun(storage: Storage, before: string | null): Promise<string | undefined> {
  const name = nameOfBegun(before)
  try {
    return parseKeyDocument(begunSchema, await storage.readSmall(name, keyFileLimit), name).epoch
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'not-found') return undefined
    throw error
  }
}

function nameOfBegun(before: string | null): string {
  return before === null ? firstFile : nextFile(before)
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
 * @param pinned fingerprints in the configuration: where there are any, the line must have one of them
 * @returns undefined where the repository has no keys of its own
 * @throws NexusError damage when what is there does not follow what is known
 */
export function currentEpoch(
  own: readonly Epoch[],
  pin: EpochPin | undefined,
  pinned: readonly string[],
): Epoch | undefined {
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
  if (own.length > 0 && pinned.length > 0 && !own.some(epoch => pinned.includes(fingerprintOf(epoch)))) {
    throw keysDamaged(
      keysDirectory,
      'none of its epochs is pinned in the configuration (trusted_epochs); nothing is sealed to keys of unknown origin',
    )
  }
  return own.at(-1)
}

/** Who can open an epoch, oldest first. @throws NexusError damage */
export async function readRecipients(
  storage: Storage,
  epoch: string,
  onDamage?: OnDamage,
): Promise<RecipientDocument[]> {
  const found = await storage.list(recipientsDirectory(epoch))
  const ids = found.flatMap(({ name }) => {
    const id = name.endsWith('.json') ? name.slice(0, -'.json'.length) : ''
    return isRecipientId(id) ? [id] : []
  })
  const recipients = await mapParallel(ids, 8, async id => {
    try {
      return parseRecipient(await storage.readSmall(recipientFile(epoch, id), keyFileLimit), epoch, id)
    } catch (error) {
      if (!(error instanceof NexusError)) throw error
      if (error.kind === 'damage' && onDamage !== undefined) onDamage(error, id)
      // Another run takes it out meanwhile.
      else if (error.kind !== 'not-found') throw error
      return undefined
    }
  })
  return recipients
    .filter(recipient => recipient !== undefined)
    .sort((a, b) => (a.added < b.added ? -1 : a.added > b.added ? 1 : a.id < b.id ? -1 : 1))
}
