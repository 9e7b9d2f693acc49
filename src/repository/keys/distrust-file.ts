import { createHash } from 'node:crypto'
import { basename } from 'node:path'
import * as v from 'valibot'
import { NexusError } from '../../errors.js'
import { type EpochPrivate, isSigned } from '../../keys/epoch-keys.js'
import { canonicalJson } from '../json.js'
import type { Manifest } from '../manifest.js'
import type { Epoch } from './epoch.js'
import type { HostDocument } from './host-file.js'
import { base64, formatKeyDocument, instant, parseKeyDocument, shortText } from './key-document.js'
import { distrustFile, isEpochId, isSignerId, type KeyReader, keyFileLimit } from './key-layout.js'

/** Bytes of a manifest's SHA-256 that are kept. */
const DIGEST_BYTES = 16
/** Backups that one document can spare: hosts keep no file below `keys` that is larger than `keyFileLimit`. */
export const MOST_SPARED = 2500

const schema = v.looseObject({
  format: v.literal(1),
  id: v.pipe(v.string(), v.check(isSignerId)),
  host: shortText,
  epoch: v.pipe(v.string(), v.check(isEpochId)),
  distrusted: instant,
  /** Of each backup signed with the key that counts all the same: 16 bytes of its manifest's SHA-256, one after another. */
  spared: base64(0, MOST_SPARED * DIGEST_BYTES),
  /** The epoch's, over everything else here and the host's key. */
  signature: base64(64),
})

/** An epoch's word that a host's key counts no more. */
export interface Distrust {
  /** When it was given. */
  since: string
  /** Whether a backup counts all the same. */
  spares(manifest: Manifest): boolean
}

/**
 * The bytes of an epoch's word against a key.
 *
 * @param spared manifests, as they are stored, that count all the same
 */
export function formatDistrust(
  host: HostDocument,
  epoch: { id: string; keys: EpochPrivate },
  spared: readonly Manifest[],
  now: Date,
): Buffer {
  const document = {
    format: 1,
    id: host.id,
    host: host.host,
    epoch: epoch.id,
    distrusted: now.toISOString(),
    spared: Buffer.concat(spared.map(digestOf)).toString('base64'),
  }
  return formatKeyDocument({ ...document, signature: epoch.keys.sign(textOf(document, host)).toString('base64') })
}

/**
 * The word of one of these epochs against a host's key, the latest of several; undefined where none has given one. One that
 * was taken away and that a later epoch tells of spares nothing.
 *
 * @param names what lies in the directory of words for that key
 */
export async function readDistrust(
  storage: KeyReader,
  { host, names }: { host: HostDocument; names: ReadonlySet<string> },
  epochs: readonly Epoch[],
): Promise<Distrust | undefined> {
  for (const epoch of [...epochs].reverse()) {
    const file = distrustFile(host.id, epoch.id)
    const bytes = names.has(basename(file)) ? await readOrNone(storage, file) : undefined
    const distrust = bytes === undefined ? undefined : parse(bytes, { file, host, epoch })
    if (distrust !== undefined) return distrust
  }
  // The word was taken away, and with it what it spared; a later epoch tells that it was given.
  const since = epochs.flatMap(({ distrusted }) => distrusted?.[host.id] ?? []).at(-1)
  return since === undefined ? undefined : { since, spares: () => false }
}

/** What is damaged or not signed says nothing: whoever may write could otherwise take a host's backups away. */
function parse(
  bytes: Buffer,
  { file, host, epoch }: { file: string; host: HostDocument; epoch: Epoch },
): Distrust | undefined {
  try {
    const { signature, ...rest } = parseKeyDocument(schema, bytes, file)
    const document = { ...rest, spared: rest.spared.toString('base64') }
    const isMeant = rest.id === host.id && rest.epoch === epoch.id
    if (!isMeant || !isSigned(epoch.signing_key, textOf(document, host), signature)) return undefined
    const spared = new Set<string>()
    for (let at = 0; at < rest.spared.length; at += DIGEST_BYTES) {
      spared.add(rest.spared.toString('hex', at, at + DIGEST_BYTES))
    }
    return { since: rest.distrusted, spares: manifest => spared.has(digestOf(manifest).toString('hex')) }
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'damage') return undefined
    throw error
  }
}

function digestOf(manifest: Manifest): Buffer {
  return createHash('sha256').update(canonicalJson(manifest)).digest().subarray(0, DIGEST_BYTES)
}

function textOf(document: object, host: HostDocument): string {
  return `nexus-backup 1 distrust ${canonicalJson({ ...document, signing_key: host.signing_key.toString('base64') })}`
}

async function readOrNone(storage: KeyReader, name: string): Promise<Buffer | undefined> {
  try {
    return await storage.readSmall(name, keyFileLimit)
  } catch (error) {
    if (error instanceof NexusError && (error.kind === 'not-found' || error.kind === 'damage')) return undefined
    throw error
  }
}
