import { createHash, randomBytes } from 'node:crypto'
import * as v from 'valibot'
import { type EpochPrivate, isSigned } from '../../keys/epoch-keys.js'
import { openWith, sealTo } from '../../keys/hpke.js'
import { canonicalJson } from '../json.js'
import { base64, formatKeyDocument, instant, keysDamaged, parseKeyDocument } from './key-document.js'
import { epochFile, isEpochId, isSignerId } from './key-layout.js'

const epochId = v.pipe(v.string(), v.check(isEpochId))
const epochSchema = v.looseObject({
  format: v.literal(1),
  id: epochId,
  /** The id of the repository it was made for: a copy holds those of others too. */
  repository: v.pipe(v.string(), v.uuid()),
  created: instant,
  /** X25519: data keys are sealed to it. */
  sealing_key: base64(32),
  /** Ed25519: the next epoch and hosts are signed with it. */
  signing_key: base64(32),
  /** The epoch before, its secret sealed to this one, and its signature over all this; null for the first. */
  previous: v.nullable(epochId),
  previous_secret: v.nullable(base64(80)),
  previous_signature: v.nullable(base64(64)),
  /**
   * Only of a repository's first: the highest sequence of the backups in plain that each source had then. Later ones in plain
   * are nobody's. Epochs made by earlier versions do not have it.
   */
  plain: v.optional(v.record(v.string(), v.pipe(v.number(), v.integer(), v.minValue(0)))),
  /**
   * The first of a line that was made by a program that signs WAL has it: by SOURCE/SYSTEM, how far the archive reached
   * then, as the highest timeline and the highest position, 8 and 16 hexadecimal digits. Whatever lies beyond must be
   * signed by a host.
   */
  unsigned_wal: v.optional(v.record(v.string(), v.pipe(v.string(), v.regex(/^[0-9A-F]{24}$/)))),
  /**
   * Hosts' keys against which an epoch of the line had given its word then, with the instant: who takes such a word away
   * takes nothing back. Epochs made by earlier versions do not have it.
   */
  distrusted: v.optional(v.record(v.pipe(v.string(), v.check(isSignerId)), instant)),
  /** This epoch's own. */
  signature: base64(64),
})

/** The public half of an epoch, as `keys/EPOCH/epoch.json` has it. */
export type Epoch = v.InferOutput<typeof epochSchema>

const info = 'nexus-backup 1 epoch secret'

/** The name of an epoch's signing key, to be pinned in a configuration. */
export function fingerprintOf({ signing_key }: Pick<Epoch, 'signing_key'>): string {
  return createHash('sha256').update(signing_key).digest('hex')
}

/** A new epoch's document. @param before the epoch it follows, opened */
export async function formatEpoch(
  keys: EpochPrivate,
  known: {
    repository: string
    now: Date
    plain?: Readonly<Record<string, number>>
    unsignedWal?: Readonly<Record<string, string>>
    distrusted?: Readonly<Record<string, string>>
  },
  before: { id: string; keys: EpochPrivate } | null,
): Promise<{ id: string; bytes: Buffer }> {
  const stamp = known.now.toISOString().replaceAll('-', '').replaceAll(':', '')
  const id = `${stamp}-${randomBytes(4).toString('hex')}`
  const document = {
    format: 1,
    id,
    repository: known.repository,
    created: known.now.toISOString(),
    ...(known.plain === undefined ? {} : { plain: known.plain }),
    ...(known.unsignedWal === undefined ? {} : { unsigned_wal: known.unsignedWal }),
    ...(known.distrusted === undefined ? {} : { distrusted: known.distrusted }),
    sealing_key: keys.sealing.toString('base64'),
    signing_key: keys.signing.toString('base64'),
    previous: before?.id ?? null,
    previous_secret:
      before === null ? null : (await sealTo(keys.sealing, info, id, before.keys.secret)).toString('base64'),
  }
  const text = signedText(document)
  const signatures = {
    previous_signature: before?.keys.sign(text).toString('base64') ?? null,
    signature: keys.sign(text).toString('base64'),
  }
  return { id, bytes: formatKeyDocument({ ...document, ...signatures }) }
}

/** Reads an epoch's document. @throws NexusError damage when it is not one, or not signed by itself */
export function parseEpoch(bytes: Uint8Array, id: string): Epoch {
  const name = epochFile(id)
  const epoch = parseKeyDocument(epochSchema, bytes, name)
  if (epoch.id !== id) throw keysDamaged(name, 'it is another epoch')
  if (!isSigned(epoch.signing_key, signedTextOf(epoch), epoch.signature)) {
    throw keysDamaged(name, 'its signature does not hold')
  }
  return epoch
}

/** Whether an epoch was made by those who held the one before it. */
export function follows(epoch: Epoch, before: Epoch): boolean {
  return (
    epoch.previous === before.id &&
    epoch.previous_signature !== null &&
    isSigned(before.signing_key, signedTextOf(epoch), epoch.previous_signature)
  )
}

/** The secret of the epoch before; undefined where there is none or it does not open. */
export async function previousSecret(epoch: Epoch, keys: EpochPrivate): Promise<Buffer | undefined> {
  if (epoch.previous_secret === null) return undefined
  return openWith(keys.opening, info, epoch.id, epoch.previous_secret)
}

function signedTextOf(epoch: Epoch): string {
  const { signature, previous_signature, ...rest } = epoch
  const encoded = {
    ...rest,
    sealing_key: rest.sealing_key.toString('base64'),
    signing_key: rest.signing_key.toString('base64'),
    previous_secret: rest.previous_secret?.toString('base64') ?? null,
  }
  return signedText(encoded)
}

function signedText(document: object): string {
  return `nexus-backup 1 epoch ${canonicalJson(document)}`
}
