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
  type KeyReader,
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
export async function readEpochs(storage: KeyReader, onDamage?: OnDamage): Promise<Epoch[]> {
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
 * @param onDamage told of what is damaged, without which it is thrown. Damage of the line itself is told with the id of the
 *   last epoch before it, or '' where there is none. A damaged file that names the next epoch is done without where only
 *   one epoch can be meant; else the line ends there.
 */
export async function readOwnEpochs(storage: KeyReader, repository: string, onDamage?: OnDamage): Promise<Epoch[]> {
  return ownAmong(storage, await readEpochs(storage, onDamage), repository, onDamage)
}

/** The same of epochs that were read already. */
export async function ownAmong(
  storage: KeyReader,
  epochs: readonly Epoch[],
  repository: string,
  onDamage?: OnDamage,
): Promise<Epoch[]> {
  const own = ofRepository(epochs, repository)
  const begunAfter = (id: string | null) => begunOrOnly(storage, own, id, onDamage)
  const [first, ...begun] = await mapParallel([null, ...own.keys()], 8, async id => ({
    id,
    next: await begunAfter(id),
  }))
  if (first?.next === undefined) return []
  const following = new Map(begun.map(({ id, next }) => [id ?? '', next]))
  // Another run begins an epoch meanwhile: what names it comes after it, so a second look finds it.
  if ([first.next, ...following.values()].some(id => id !== undefined && !own.has(id))) {
    for (const [id, epoch] of ofRepository(await readEpochs(storage, () => {}), repository)) own.set(id, epoch)
  }
  const line: Epoch[] = []
  const ends = (id: string, problem: string) => {
    if (onDamage === undefined) throw keysDamaged(epochFile(id), problem)
    onDamage(keysDamaged(epochFile(id), problem), line.at(-1)?.id ?? '')
    return line
  }
  for (let id: string | undefined = first.next; id !== undefined; id = following.get(id)) {
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

/**
 * The epoch that counts as the one after another, or as the first. Where the file that names it is damaged, it is the only one
 * that can: whoever could make a second one could have replaced that file.
 * @param onDamage told of a damaged file; without it damage is thrown
 */
async function begunOrOnly(
  storage: KeyReader,
  own: ReadonlyMap<string, Epoch>,
  before: string | null,
  onDamage?: OnDamage,
): Promise<string | undefined> {
  try {
    return await readBegun(storage, before)
  } catch (error) {
    if (onDamage === undefined || !(error instanceof NexusError) || error.kind !== 'damage') throw error
    onDamage(error, before ?? '')
    const last = before === null ? undefined : own.get(before)
    const next = [...own.values()].filter(epoch => {
      return last === undefined ? epoch.previous === null : follows(epoch, last)
    })
    return next.length === 1 ? next[0]?.id : undefined
  }
}

/**
 * The epochs that something can be sealed to: the first of each line, and those that are named by the one before. An
 * interrupted rotation leaves one that nothing ever will be.
 */
export async function begunEpochs(storage: KeyReader, epochs: readonly Epoch[], repository: string): Promise<Epoch[]> {
  const first = await readBegun(storage, null)
  const begun = await mapParallel(epochs, 8, async epoch => {
    if (epoch.previous !== null) return (await readBegun(storage, epoch.previous)) === epoch.id
    return epoch.repository !== repository || epoch.id === first
  })
  return epochs.filter((_, n) => begun[n])
}

/** The epoch that counts as the one after another, or as the first; undefined where there is none. */
async function readBegun(storage: KeyReader, before: string | null): Promise<string | undefined> {
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

/**
 * The repository's own epochs, up to the one that new backups are sealed to, as the repository has them. What is damaged beside its own line is told and stops
 * nothing; neither does damage of the line itself where this host or the configuration knows an epoch that is still in it.
 * @param known what this host and the configuration know, and who is told of damage
 * @returns none where the repository has no keys of its own
 * @throws NexusError damage as `currentEpoch` does, and where the line is damaged and nothing else is known of it
 */
export async function readCurrentLine(
  storage: KeyReader,
  repository: string,
  known: { pin: EpochPin | undefined; pinned: readonly string[]; onDamage: (error: NexusError) => void },
): Promise<Epoch[]> {
  const damages: { error: NexusError; id: string }[] = []
  const found = await readEpochs(storage, (error, id) => void damages.push({ error, id }))
  // Without any epoch, one that is not even named cannot be missing.
  const named = found.length === 0 && damages.length === 0 ? await firstNamed(storage) : 'an epoch'
  const isPlain = named !== 'an epoch'
  const told = (error: NexusError, id: string) => void damages.push({ error, id })
  const own = named === 'nothing' ? [] : await ownAmong(storage, found, repository, told)
  const ofLine = damages.find(({ id }) => id === '' || own.some(epoch => epoch.id === id))
  const isKnown = own.length > 0 && (known.pin !== undefined || known.pinned.length > 0)
  if (ofLine !== undefined && !isKnown && !isPlain) throw ofLine.error
  const current = currentEpoch(own, known.pin, known.pinned)
  for (const { error } of damages) known.onDamage(error)
  return current === undefined ? [] : own
}

/** What is named as the first epoch. */
async function firstNamed(storage: KeyReader): Promise<'an epoch' | 'nothing' | 'garbage'> {
  try {
    return (await readBegun(storage, null)) === undefined ? 'nothing' : 'an epoch'
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'damage') return 'garbage'
    throw error
  }
}

/** Who can open an epoch, oldest first. @throws NexusError damage */
export async function readRecipients(
  storage: KeyReader,
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
