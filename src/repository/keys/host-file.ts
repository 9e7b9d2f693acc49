import { createHash } from 'node:crypto'
import * as v from 'valibot'
import { NexusError } from '../../errors.js'
import { type EpochPrivate, isSigned } from '../../keys/epoch-keys.js'
import { canonicalJson } from '../json.js'
import type { Epoch } from './epoch.js'
import { base64, formatKeyDocument, instant, keysDamaged, parseKeyDocument, shortText } from './key-document.js'
import { hostFile, isEpochId, isSignerId, type KeyReader, keyFileLimit, vouchFile } from './key-layout.js'

const hostSchema = v.looseObject({
  format: v.literal(1),
  id: v.pipe(v.string(), v.check(isSignerId)),
  host: shortText,
  /** Ed25519, raw. */
  signing_key: base64(32),
  registered: instant,
})
const vouchSchema = v.looseObject({
  format: v.literal(1),
  id: v.pipe(v.string(), v.check(isSignerId)),
  host: shortText,
  epoch: v.pipe(v.string(), v.check(isEpochId)),
  vouched: instant,
  /** The epoch's, over everything else here and the host's key. */
  signature: base64(64),
})

/** The public half of the key that a host signs manifests with. */
export type HostDocument = v.InferOutput<typeof hostSchema>

/** The name of a signing key: the beginning of its SHA-256. */
export function signerIdOf(publicKey: Uint8Array): string {
  return createHash('sha256').update(publicKey).digest('hex').slice(0, 16)
}

export function formatHost(host: string, publicKey: Uint8Array, now: Date): Buffer {
  return formatKeyDocument({
    format: 1,
    id: signerIdOf(publicKey),
    host,
    signing_key: Buffer.from(publicKey).toString('base64'),
    registered: now.toISOString(),
  })
}

/** A host's key; undefined where none of that name is registered. @throws NexusError damage */
export async function readHost(storage: Pick<KeyReader, 'readSmall'>, id: string): Promise<HostDocument | undefined> {
  const name = hostFile(id)
  const bytes = isSignerId(id) ? await readOrNone(storage, name) : undefined
  if (bytes === undefined) return undefined
  const host = parseKeyDocument(hostSchema, bytes, name)
  if (host.id === id && signerIdOf(host.signing_key) === id) return host
  throw keysDamaged(name, 'it is the key of another host')
}

/** An epoch's word that a key is that of a host; only who opens the epoch can give it. */
export function formatVouch(host: HostDocument, epoch: string, keys: EpochPrivate, now: Date): Buffer {
  const document = { format: 1, id: host.id, host: host.host, epoch, vouched: now.toISOString() }
  return formatKeyDocument({ ...document, signature: keys.sign(vouchText(document, host)).toString('base64') })
}

/** Whether one of these epochs vouches for a host's key. @throws NexusError damage */
export async function isVouchedFor(storage: KeyReader, host: HostDocument, epochs: readonly Epoch[]): Promise<boolean> {
  for (const epoch of epochs) {
    const name = vouchFile(host.id, epoch.id)
    const bytes = await readOrNone(storage, name)
    if (bytes === undefined) continue
    const { signature, ...document } = parseKeyDocument(vouchSchema, bytes, name)
    const isMeant = document.id === host.id && document.host === host.host && document.epoch === epoch.id
    if (!isMeant || !isSigned(epoch.signing_key, vouchText(document, host), signature)) {
      throw keysDamaged(name, 'its signature does not hold')
    }
    return true
  }
  return false
}

function vouchText(document: object, host: HostDocument): string {
  return `nexus-backup 1 host ${canonicalJson({ ...document, signing_key: host.signing_key.toString('base64') })}`
}

async function readOrNone(storage: Pick<KeyReader, 'readSmall'>, name: string): Promise<Buffer | undefined> {
  try {
    return await storage.readSmall(name, keyFileLimit)
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'not-found') return undefined
    throw error
  }
}
