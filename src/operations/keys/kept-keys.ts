import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import type { Context } from '../../context.js'
import { errnoOf, messageOf, NexusError } from '../../errors.js'
import { parseEpoch } from '../../repository/keys/epoch.js'
import { parseKeyDocument } from '../../repository/keys/key-document.js'
import { inWritingOrder, keyFiles } from '../../repository/keys/key-files.js'
import { epochFile, keyFileLimit, keysDirectory, recipientOf } from '../../repository/keys/key-layout.js'
import { isRemoved } from '../../repository/keys/removal-file.js'
import { mapParallel } from '../../repository/parallel.js'
import type { Storage } from '../../repository/storage/storage.js'
import type { Repository } from '../../repository/types.js'
import { readStateFile, writeStateFile } from '../state-file.js'

/** Below the state directory: `keys/kept/REPOSITORY/keys/…`, as the files lie in the repository. */
const directory = ['keys', 'kept']
/** Names told in a message. */
const TOLD = 3

type Told = Pick<Context, 'stateDirectory' | 'warn'>

/**
 * Where this host has kept anything of a repository's keys, the same as `keepKeys`.
 * @returns whether it has
 */
export async function putBackKeys(context: Told, repository: Repository): Promise<boolean> {
  if ((await keptNames(context, repository)).length === 0) return false
  await keepKeys(context, repository)
  return true
}

/**
 * Puts back what is missing below `keys` of what this host has kept, says so, and keeps what is new: whoever may delete
 * files could otherwise take away what opens the backups. A recipient that was taken out stays out.
 */
export async function keepKeys(context: Told, repository: Repository): Promise<void> {
  const { storage } = repository
  const kept = await keptNames(context, repository)
  const present = await keyFiles(storage)
  const missing = await missingOf(context, repository, { kept, present })
  const written: Missing[] = []
  for (const one of missing) if (await putBack(storage, one)) written.push(one)
  if (written.length > 0) context.warn(putBackText(repository, written))
  const known = new Set(kept)
  await keep(
    context,
    repository,
    present.filter(name => !known.has(name)),
  )
}

/** Names below `keys` that this host has kept, that are gone, and that nobody took out, in the order of writing. */
export async function missingKeys(context: Told, repository: Repository): Promise<string[]> {
  const kept = await keptNames(context, repository)
  if (kept.length === 0) return []
  const present = await keyFiles(repository.storage)
  return (await missingOf(context, repository, { kept, present })).map(({ name }) => name)
}

/** What this host has kept of a file below `keys`; undefined where it has nothing, or cannot read it. */
export async function keptFile(
  context: Pick<Context, 'stateDirectory'>,
  repository: string,
  name: string,
): Promise<{ path: string; bytes: Buffer } | undefined> {
  const path = pathOf(context, repository, name)
  try {
    const text = await readStateFile(path)
    return text === undefined ? undefined : { path, bytes: Buffer.from(text) }
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return undefined
  }
}

/** Names of the files that this host has kept of a directory below `keys`; none where it cannot read them. */
export async function keptNamesIn(
  context: Pick<Context, 'stateDirectory'>,
  repository: string,
  name: string,
): Promise<string[]> {
  try {
    return await readdir(pathOf(context, repository, name))
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return []
  }
}

/** Forgets files below `keys` that are about to be taken out. */
export async function forgetKeys(context: Told, { id }: Repository, names: readonly string[]): Promise<void> {
  try {
    for (const name of names) await rm(pathOf(context, id, name), { force: true })
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    context.warn(`the state directory keeps ${names.join(', ')}: ${messageOf(error)}`)
  }
}

interface Missing {
  name: string
  bytes: Buffer
}

async function missingOf(
  context: Told,
  repository: Repository,
  { kept, present }: { kept: readonly string[]; present: readonly string[] },
): Promise<Missing[]> {
  const there = new Set(present)
  const missing: Missing[] = []
  for (const name of kept.filter(one => !there.has(one))) {
    const text = await readStateFile(pathOf(context, repository.id, name))
    // What is damaged here puts nothing in its place there.
    if (text === undefined || !isWhole(Buffer.from(text), name)) continue
    if (await isTakenOut(context, repository, { name, bytes: Buffer.from(text) })) {
      await forgetKeys(context, repository, [name])
    } else missing.push({ name, bytes: Buffer.from(text) })
  }
  return missing
}

/** Whether the epoch of a recipient, as this host has kept it, says that he was taken out. */
async function isTakenOut(context: Told, { id, storage }: Repository, { name, bytes }: Missing): Promise<boolean> {
  const recipient = recipientOf(name)
  if (recipient === undefined) return false
  const text = await readStateFile(pathOf(context, id, epochFile(recipient.epoch)))
  if (text === undefined) return false
  const epoch = orNone(() => parseEpoch(Buffer.from(text), recipient.epoch))
  return epoch !== undefined && isRemoved(storage, { ...recipient, bytes }, epoch)
}

/** @returns false where another run was faster, or something that is no file lies in its place */
async function putBack(storage: Storage, { name, bytes }: Missing): Promise<boolean> {
  try {
    await storage.writeOnce(name, bytes)
    return true
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'exists') throw error
    return false
  }
}

async function keep(context: Told, { id, storage }: Repository, names: readonly string[]): Promise<void> {
  try {
    const read = await mapParallel(names, 8, name => orGone(storage.readSmall(name, keyFileLimit)))
    for (const [at, name] of names.entries()) {
      const bytes = read[at]
      if (bytes === undefined || !isWhole(bytes, name)) continue
      const parts = name.split('/')
      const file = parts.pop() ?? ''
      await writeStateFile(context.stateDirectory, [...directory, id, ...parts], file, bytes)
    }
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    context.warn(
      `the state directory cannot keep what opens ${storage.location}, in case it is taken away there: ${messageOf(error)}`,
    )
  }
}

async function keptNames({ stateDirectory }: Told, { id }: Repository): Promise<string[]> {
  try {
    const root = join(stateDirectory, ...directory, id)
    const found = await readdir(join(root, keysDirectory), { recursive: true, withFileTypes: true })
    const names = found
      .filter(entry => entry.isFile() && entry.name.endsWith('.json'))
      .map(({ parentPath, name }) => join(parentPath, name).slice(root.length + 1))
    return inWritingOrder(names)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return []
  }
}

/** Whether a file is one of ours as it was written: nothing else is kept, or put back. */
export function isWhole(bytes: Uint8Array, name: string): boolean {
  return orNone(() => parseKeyDocument(v.looseObject({ format: v.literal(1) }), bytes, name)) !== undefined
}

function orNone<T>(parsing: () => T): T | undefined {
  try {
    return parsing()
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'damage') return undefined
    throw error
  }
}

/** What cannot be read is not kept, and stops nothing: who needs it tells of it. */
async function orGone(reading: Promise<Buffer>): Promise<Buffer | undefined> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof NexusError && (error.kind === 'not-found' || error.kind === 'damage')) return undefined
    throw error
  }
}

function pathOf({ stateDirectory }: Pick<Context, 'stateDirectory'>, repository: string, name: string): string {
  return join(stateDirectory, ...directory, repository, name)
}

function putBackText({ location }: Repository, missing: readonly Missing[]): string {
  const names = missing.slice(0, TOLD).map(({ name }) => name)
  const more = missing.length > TOLD ? ` and ${missing.length - TOLD} more` : ''
  const what = missing.length === 1 ? 'a file that this host has kept was' : 'files that this host has kept were'
  return `${location}: ${what} missing and put back: ${names.join(', ')}${more}; find out who removed them: nexus-backup-recovery(7), suspected intruder`
}
