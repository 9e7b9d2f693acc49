import { randomBytes, timingSafeEqual } from 'node:crypto'
import { NexusError } from '../../errors.js'
import { derivedKey, KEY_BYTES, macOf } from '../../keys/derive.js'
import type { EpochPrivate } from '../../keys/epoch-keys.js'
import { openWith, sealTo } from '../../keys/hpke.js'
import { canonicalJson } from '../json.js'
import type { Signer } from '../sealed/sealed-manifest.js'
import type { SealingKey } from '../sealed/sealing-writer.js'
import { openWhole, sealWhole } from '../sealed/whole.js'
import { sha256Of } from './pack.js'
import { signedWalHeader, type WalFileHeader } from './wal-file.js'

const info = 'nexus-backup 1 wal key'

/** How files of the log are sealed and opened. */
export interface WalSeal {
  /** What new files are sealed with; null where they are stored in plain, or are only read. */
  writing: WalSealing | null
  /** The private half of an epoch. @throws NexusError refused `key_missing`, `key_wrong` */
  open(epoch: string): Promise<EpochPrivate>
  /**
   * Says why a stored file is not ours, as the rest of a sentence; undefined for one that is. Absent where everything is
   * taken as it is.
   */
  judge?(file: JudgedWal): Promise<string | undefined>
}

/** A stored file whose origin is to be judged. */
export interface JudgedWal {
  source: string
  header: WalFileHeader
  /** Whether the repository has any keys; asks the store at most once. */
  hasKeys(): Promise<boolean>
}

export interface WalSealing {
  epoch: string
  /** X25519, raw: the epoch's. */
  sealingKey: Uint8Array
  /** This host's own key, with which it knows again what it has archived; null where it has none. */
  identity: { id: string; key: Buffer } | null
  /** This host's key for signatures; null where it has none, and files of earlier versions were not signed either. */
  signer: Signer | null
}

type Known = Pick<WalFileHeader, 'name' | 'system_identifier' | 'bytes' | 'archived_at' | 'closed_at'>

/** Seals a packed file: its header, and what follows it. Each file has a random key of its own, sealed to the epoch. */
export async function sealWal(
  { epoch, sealingKey, identity, signer }: WalSealing,
  known: Known,
  packed: { sha256: string; stored: Uint8Array },
): Promise<{ header: WalFileHeader; stored: Buffer }> {
  const data = randomBytes(KEY_BYTES)
  const encryption = {
    format: 1 as const,
    epoch,
    data_key: (await sealTo(sealingKey, info, known.name, data)).toString('base64'),
    identity: identity === null ? null : { key: identity.id, mac: identityOf(identity.key, known.name, packed.sha256) },
  }
  const header = { format: 1 as const, ...known, encryption, ...(signer === null ? {} : { signer: signer.id }) }
  const stored = sealWhole(packed.stored, keyOf(data, header))
  const whole = { ...header, stored_sha256: sha256Of(stored) }
  return { header: signer === null ? whole : signedWalHeader(whole, signer), stored }
}

/** The packed bytes in a sealed file; undefined when they do not open. @throws NexusError refused without a key */
export async function openWal(seal: WalSeal, header: WalFileHeader, stored: Uint8Array): Promise<Buffer | undefined> {
  const { encryption, stored_sha256: _, signature: _signature, ...bound } = header
  if (encryption === undefined) return undefined
  const { opening } = await seal.open(encryption.epoch)
  const data = await openWith(opening, info, header.name, Buffer.from(encryption.data_key, 'base64'))
  return data?.length === KEY_BYTES ? openWhole(stored, keyOf(data, { ...bound, encryption })) : undefined
}

/**
 * Whether a sealed file holds this content, by the mark that this host left in its header.
 * @returns undefined where the mark is another host's, or there is none: only opening it tells
 */
export function isMarkedAs(
  sealing: WalSealing | null,
  { name, encryption }: WalFileHeader,
  plainSha256: string,
): boolean | undefined {
  const mark = encryption?.identity
  const identity = sealing?.identity
  if (mark == null || identity == null || mark.key !== identity.id) return undefined
  const expected = identityOf(identity.key, name, plainSha256)
  return timingSafeEqual(Buffer.from(expected), Buffer.from(mark.mac))
}

function identityOf(key: Buffer, name: string, plainSha256: string): string {
  return macOf(key, `nexus-backup 1 wal identity ${name} ${plainSha256}`)
}

/** The header is bound to what follows it: nothing in it can be changed. */
function keyOf(data: Buffer, header: Omit<WalFileHeader, 'stored_sha256' | 'signature'>): SealingKey {
  return {
    key: derivedKey(data, header.name, 'wal'),
    context: `nexus-backup 1 wal ${canonicalJson(header)}`,
  }
}

/** A reader without keys. */
export const unsealed: WalSeal = {
  writing: null,
  async open() {
    throw new NexusError('refused', 'key_missing', 'the archived log is encrypted, and there is no key to open it', {
      hint: 'give --key-file FILE or --passphrase-file FILE, or configure encryption',
    })
  },
}
