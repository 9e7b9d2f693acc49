import { randomBytes, sign } from 'node:crypto'
import { join } from 'node:path'
import * as v from 'valibot'
import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import { secretName } from '../../keys/derive.js'
import { rawPublic, signingKey } from '../../keys/epoch-keys.js'
import { signerIdOf } from '../../repository/keys/host-file.js'
import type { EpochPin } from '../../repository/keys/key-room.js'
import type { Signer } from '../../repository/sealed/sealed-manifest.js'
import { readStateFile, writeStateFile, writeStateFileOnce } from '../state-file.js'

/** Below the state directory. */
const directory = 'keys'
const signingFile = 'signing-key'
const prefix = 'NEXUS-BACKUP-SIGNING-KEY-1-'

/** What this host signs with. */
export interface HostSigner extends Signer {
  /** Ed25519, raw. */
  publicKey: Buffer
}

/** The key that this host signs manifests with, where it has one. */
export async function knownHostSigner({
  stateDirectory,
}: Pick<Context, 'stateDirectory'>): Promise<HostSigner | undefined> {
  const path = join(stateDirectory, directory, signingFile)
  const text = await guarded(path, () => readStateFile(path))
  return text === undefined ? undefined : signerOf(seedOf(text, path))
}

/** The key that this host signs manifests with, made when it is first needed. */
export async function hostSigner(context: Pick<Context, 'stateDirectory'>): Promise<HostSigner> {
  const known = await knownHostSigner(context)
  if (known !== undefined) return known
  const { stateDirectory } = context
  const path = join(stateDirectory, directory, signingFile)
  const made = `${prefix}${randomBytes(32).toString('base64url')}\n`
  const isOurs = await guarded(path, () => writeStateFileOnce(stateDirectory, [directory], signingFile, made))
  // Another run that began at the same time was faster: a host has one key.
  const kept = isOurs ? made : await guarded(path, () => readStateFile(path))
  if (kept !== undefined) return signerOf(seedOf(kept, path))
  // A key that is not kept signs what nobody can ever vouch for.
  throw unusable(path, 'a file is in the way')
}

/** A key for one signature, where this host cannot keep any. */
export function passingSigner(): HostSigner {
  return signerOf(randomBytes(32))
}

function seedOf(text: string, path: string): Buffer {
  const [, encoded] = new RegExp(`^${prefix}([A-Za-z0-9_-]{43})\\n$`).exec(text) ?? []
  if (encoded !== undefined) return Buffer.from(encoded, 'base64url')
  throw new NexusError('damage', 'signing_key_damaged', `${path} is not the signing key of this host`, {
    hint: 'put it back, or move it away: then a new one is made, which keys trust must vouch for',
  })
}

function signerOf(seed: Buffer): HostSigner {
  const key = signingKey(seed)
  const publicKey = rawPublic(key)
  return { id: signerIdOf(publicKey), publicKey, sign: message => sign(null, Buffer.from(message), key) }
}

const walPrefix = 'NEXUS-BACKUP-WAL-KEY-1-'

/** The key with which this host marks what it archives, to know it again; made when it is first needed. */
export async function walIdentity(
  { stateDirectory }: Pick<Context, 'stateDirectory'>,
  repository: string,
): Promise<{ id: string; key: Buffer }> {
  const path = join(stateDirectory, directory, 'wal', repository)
  const text = await guarded(path, () => readStateFile(path))
  const known = walKeyOf(text)
  if (known !== undefined) return { id: secretName(known), key: known }
  const key = randomBytes(32)
  const made = `${walPrefix}${key.toString('base64url')}\n`
  const names = [directory, 'wal']
  // A damaged one marks nothing any more; what it marked is told by a key from now on.
  if (text !== undefined) await guarded(path, () => writeStateFile(stateDirectory, names, repository, made))
  else if (!(await guarded(path, () => writeStateFileOnce(stateDirectory, names, repository, made)))) {
    // The server archives several files at once, and another call was faster.
    const kept = walKeyOf(await guarded(path, () => readStateFile(path)))
    if (kept !== undefined) return { id: secretName(kept), key: kept }
  }
  return { id: secretName(key), key }
}

function walKeyOf(text: string | undefined): Buffer | undefined {
  const [, encoded] = new RegExp(`^${walPrefix}([A-Za-z0-9_-]{43})\\n$`).exec(text ?? '') ?? []
  return encoded === undefined ? undefined : Buffer.from(encoded, 'base64url')
}

const pinSchema = v.object({ id: v.string(), signing_key: v.string() })

/** The epoch of a repository that this host has last seen; undefined before its first backup there. */
export async function readPin(
  { stateDirectory }: Pick<Context, 'stateDirectory'>,
  repository: string,
): Promise<EpochPin | undefined> {
  const path = join(stateDirectory, directory, `${repository}.json`)
  const text = await guarded(path, () => readStateFile(path))
  if (text === undefined) return undefined
  const result = v.safeParse(pinSchema, parsed(text))
  if (result.success) return result.output
  throw new NexusError('damage', 'pin_damaged', `${path} does not tell which keys this host knows`, {
    hint: 'find out who changed it; once it is moved away, the keys in the repository are believed as at first',
  })
}

/** Remembers an epoch; see `writePin` of known-places.ts. */
export async function writeEpochPin(
  { stateDirectory }: Pick<Context, 'stateDirectory'>,
  repository: string,
  { id, signing_key }: { id: string; signing_key: Buffer },
): Promise<void> {
  const pin: EpochPin = { id, signing_key: signing_key.toString('base64') }
  const file = `${repository}.json`
  await guarded(join(stateDirectory, directory, file), () =>
    writeStateFile(stateDirectory, [directory], file, `${JSON.stringify(pin)}\n`),
  )
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Names the state directory in what a file in it cannot do. */
export async function guarded<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof NexusError) throw error
    throw unusable(path, messageOf(error), error)
  }
}

function unusable(path: string, problem: string, cause?: unknown): NexusError {
  return new NexusError('failed', 'state_unusable', `the state directory cannot be used: ${path}: ${problem}`, {
    hint: 'run as its owner or as root, or name another one with --state DIR',
    cause,
  })
}
