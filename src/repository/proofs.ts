import { NexusError } from '../errors.js'
import { proofsDirectory } from './layout.js'
import { mapParallel } from './parallel.js'
import { formatProof, type ProofFile, type ProofPlace, parseProof, proofLimit } from './proof-file.js'
import { condense, isToCome } from './proof-history.js'
import { formatProofName, isReplaced, type ProofName, proofNames, stampOf } from './proof-names.js'
import type { Signer } from './sealed/sealed-manifest.js'
import type { SmallFiles } from './small-files.js'
import type { Storage } from './storage/storage.js'
import type { Proof } from './types.js'

/** Whose proofs count. Without it every proof does. */
export interface ProofTrust extends ProofPlace {
  /** Whether a proof of this backup counts only with a signature. */
  isRequired(id: string): boolean
  /** The raw Ed25519 key of a host whose word counts; undefined for any other. */
  keyOf(signer: string): Promise<Uint8Array | undefined>
}

export interface ProofReading {
  /** Backups of which proofs are wanted; all where it is left out. */
  ids?: ReadonlySet<string>
  /** Tells which proofs are of a time to come; without it none is. */
  now?: Date
  trust?: ProofTrust
}

/** What lies among the proofs of one backup. */
export interface BackupProofs {
  /** Every file of it, oldest name first. */
  names: ProofName[]
  /** What counts, with what these say of earlier ones. */
  files: { name: ProofName; file: ProofFile }[]
  /** Files that nothing stands for and that cannot be read, or are no proofs, oldest name first. */
  unreadable: { name: ProofName; error: NexusError }[]
  /** Files that nothing stands for and that lack the signature they need. */
  unsigned: ProofName[]
  /** Files that nothing stands for and that are of a time to come. */
  toCome: number
}

/** Files looked at one after another before all others are read at once: the newest mostly stands for them. */
const ONE_BY_ONE = 2
/** Times the list is read again because a file that it names was replaced meanwhile. */
const ATTEMPTS = 5

/**
 * Reads the proofs of a source. Of a backup whose newest proof stands for all earlier ones, that is one file.
 *
 * @returns by the id of the backup
 */
export async function readProofs(
  storage: SmallFiles,
  source: string,
  reading: ProofReading = {},
): Promise<Map<string, BackupProofs>> {
  const found = new Map<string, BackupProofs>()
  let left = reading.ids
  for (let attempt = 1; left === undefined || left.size > 0; attempt += 1) {
    const names = await listProofs(storage, source)
    const wanted = [...names].filter(([id]) => left?.has(id) ?? true)
    const read = await mapParallel(wanted, 16, ([, own]) => readBackup(storage, source, own, reading))
    const changed = read.flatMap(({ proofs, isChanged }, n) => {
      const id = wanted[n]?.[0] ?? ''
      found.set(id, proofs)
      return isChanged ? [id] : []
    })
    left = attempt < ATTEMPTS ? new Set(changed) : new Set()
  }
  return found
}

/** What proofs say, their histories included, oldest first. */
export function outcomesOf(found: Iterable<BackupProofs>): Proof[] {
  const proofs = [...found].flatMap(({ files }) =>
    files.flatMap(({ file: { proof, history } }) => [
      proof,
      ...history.map(past => ({ id: proof.id, ...past, findings: [] })),
    ]),
  )
  return proofs.sort((a, b) => compare(a.at, b.at) || compare(a.id, b.id))
}

/** How a proof is written. */
export interface ProofWriting {
  place: ProofPlace
  /** Signs it, where it must be signed to count. */
  signer?: Signer | undefined
  now: Date
  /** What was found of the same backup: the new proof stands for that. */
  before?: BackupProofs | undefined
  /** Is given the names of files that may go once the proof is written. */
  gone?: string[]
}

/** Keeps a proof, write-once. Two of one backup in the same millisecond get names of their own. */
export async function writeProof(
  storage: Storage,
  source: string,
  proof: Proof,
  { place, signer, now, before, gone }: ProofWriting,
): Promise<void> {
  const known = before === undefined ? [] : outcomesOf([before])
  // The own outcome is no history, and what it makes irrelevant need not be kept.
  const history = condense([...known, proof], now).filter(({ at, status, level }) => {
    return at !== proof.at || status !== proof.status || level !== proof.level
  })
  const { all, named: replaces } = before === undefined ? { all: [], named: [] } : replacedBy(before, now)
  const bytes = formatProof({ proof, history, replaces, signer }, place)
  const newest = before?.names.findLast(({ stamp }) => !isOfTheFuture(stamp, now))
  // A clock that is behind must not make the name sort before what the proof stands for.
  const own = stampOf(new Date(proof.at))
  const stamp = newest !== undefined && newest.stamp > own ? newest.stamp : own
  const first = newest?.stamp === stamp ? newest.number + 1 : 1
  for (let number = first; ; number += 1) {
    const name = formatProofName({ id: proof.id, stamp, number })
    try {
      await storage.writeOnce(`${source}/${proofsDirectory}/${name}`, bytes)
      gone?.push(...all)
      return
    } catch (error) {
      if (!(error instanceof NexusError) || error.code !== 'exists' || number - first === 100) throw error
    }
  }
}

/** Files of a backup that one of its proofs which counts stands for. */
export function replacedNames({ names, files }: BackupProofs): string[] {
  return names
    .filter(other => files.some(({ name, file }) => isReplaced(other, name, file.replaces)))
    .map(({ name }) => name)
}

/**
 * Removes proofs that others stand for, as far as that is possible: no reader needs them gone, and the next run tries
 * again where credentials or a disk do not allow it.
 */
export async function removeReplaced(storage: Storage, source: string, names: readonly string[]): Promise<void> {
  try {
    await storage.removeFiles(names.map(name => `${source}/${proofsDirectory}/${name}`))
  } catch (error) {
    if (!(error instanceof NexusError) || error.kind === 'interrupted') throw error
  }
}

/** The proofs that are there, by the id of their backup. */
export async function listProofs(storage: Pick<Storage, 'list'>, source: string): Promise<Map<string, ProofName[]>> {
  const entries = await storage.list(`${source}/${proofsDirectory}`)
  return proofNames(entries.map(({ name }) => name))
}

/** Newest first, and those of a time to come last, the nearest first: none of them hides what is known now. */
function inReadingOrder(names: readonly ProofName[], now: Date | undefined): ProofName[] {
  const toCome = now === undefined ? [] : names.filter(({ stamp }) => isOfTheFuture(stamp, now))
  const past = names.filter(name => !toCome.includes(name)).reverse()
  return [...past, ...toCome]
}

async function readBackup(
  storage: SmallFiles,
  source: string,
  names: ProofName[],
  { now, trust }: ProofReading,
): Promise<{ proofs: BackupProofs; isChanged: boolean }> {
  const proofs: BackupProofs = { names, files: [], unreadable: [], unsigned: [], toCome: 0 }
  const { files, unreadable, unsigned } = proofs
  const isNeedless = (other: ProofName) => files.some(({ name, file }) => isReplaced(other, name, file.replaces))
  let isChanged = false
  async function read(name: ProofName): Promise<void> {
    try {
      const path = `${source}/${proofsDirectory}/${name.name}`
      const file = parseProof(await storage.readSmall(path, proofLimit), path)
      if (trust !== undefined && !(await counts(file, trust))) unsigned.push(name)
      else files.push({ name, file })
    } catch (error) {
      if (!(error instanceof NexusError) || error.kind === 'interrupted') throw error
      if (error.kind === 'not-found') isChanged = true
      else unreadable.push({ name, error })
    }
  }
  const order = inReadingOrder(names, now)
  for (const name of order.slice(0, ONE_BY_ONE)) if (!isNeedless(name)) await read(name)
  await mapParallel(
    order.slice(ONE_BY_ONE).filter(name => !isNeedless(name)),
    16,
    read,
  )
  // Those read at once end in any order, and what is told of them must not change from run to run.
  proofs.unreadable = unreadable
    .filter(({ name }) => !isNeedless(name))
    .sort((a, b) => names.indexOf(a.name) - names.indexOf(b.name))
  proofs.unsigned = unsigned.filter(name => !isNeedless(name))
  proofs.toCome = files.filter(
    ({ name, file }) => now !== undefined && isToCome(file.proof.at, now) && !isNeedless(name),
  ).length
  return { proofs, isChanged }
}

async function counts({ proof, signer, isSignedBy }: ProofFile, trust: ProofTrust): Promise<boolean> {
  if (!trust.isRequired(proof.id)) return true
  const key = signer === undefined ? undefined : await trust.keyOf(signer)
  return key !== undefined && isSignedBy(key, trust)
}

/** Most files of a time to come that a proof names one by one. */
const MOST_NAMED = 50

/**
 * What a new proof stands for: all that was read, and what was no proof that counts. What could not be read stays.
 *
 * @returns all of it, and the names with which the proof says so (`isReplaced`)
 */
function replacedBy({ names, unreadable }: BackupProofs, now: Date): { all: string[]; named: string[] } {
  const staying = new Set(unreadable.filter(({ error }) => error.kind !== 'damage').map(({ name }) => name.name))
  const past = names.filter(({ stamp }) => !isOfTheFuture(stamp, now))
  const firstStaying = past.findIndex(({ name }) => staying.has(name))
  const earlier = (firstStaying === -1 ? past : past.slice(0, firstStaying)).map(({ name }) => name)
  const toCome = names.filter(({ name, stamp }) => isOfTheFuture(stamp, now) && !staying.has(name))
  const named = toCome.slice(0, MOST_NAMED).map(({ name }) => name)
  return { all: [...earlier, ...named], named: [...earlier.slice(-1), ...named] }
}

/** Whether the time in a name is one to come. */
function isOfTheFuture(stamp: string, now: Date): boolean {
  const iso = stamp.replace(/^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})/, '$1-$2-$3T$4:$5:')
  return isToCome(iso, now)
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
