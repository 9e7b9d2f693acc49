import * as v from 'valibot'
import { messageOf, NexusError } from '../../errors.js'
import { isSigned } from '../../keys/epoch-keys.js'
import { canonicalJson, parseOutsideJson } from '../json.js'
import type { Signer } from '../sealed/sealed-manifest.js'
import { sha256Of } from './pack.js'

/** Bytes the header of a stored WAL file may have, its frame included. */
export const walHeaderLimit = 4096
/** A zstd skippable frame of this kind: `zstd -d` passes over it (RFC 8878, 3.1.2). */
const SKIPPABLE_MAGIC = 0x184d2a50
const FRAME_HEAD_BYTES = 8
/** The largest file that a server writes into pg_wal: a segment of 1 GiB. */
const largestPlain = 1024 * 1024 * 1024

const digest = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/))
const instant = v.pipe(v.string(), v.isoTimestamp())
const encryptionSchema = v.looseObject({
  format: v.literal(1),
  epoch: v.pipe(v.string(), v.regex(/^\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{8}$/)),
  data_key: v.pipe(v.string(), v.maxLength(256)),
  identity: v.nullable(v.looseObject({ key: v.pipe(v.string(), v.maxLength(64)), mac: digest })),
})
const headerSchema = v.looseObject({
  format: v.literal(1),
  name: v.pipe(v.string(), v.maxLength(64)),
  system_identifier: v.pipe(v.string(), v.regex(/^\d{1,20}$/)),
  bytes: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(largestPlain)),
  sha256: v.optional(digest),
  stored_sha256: digest,
  archived_at: instant,
  closed_at: instant,
  encryption: v.optional(encryptionSchema),
  signer: v.optional(v.pipe(v.string(), v.regex(/^[0-9a-f]{16}$/))),
  signature: v.optional(v.pipe(v.string(), v.maxLength(88))),
})

/** What the head of a stored WAL file says. */
export interface WalFileHeader {
  format: 1
  /** The file's name in pg_wal. */
  name: string
  system_identifier: string
  /** Of the plain file; a sealed one does not tell its SHA-256. */
  bytes: number
  sha256?: string | undefined
  /** Of the bytes after the header. */
  stored_sha256: string
  /** When it came into the archive, ISO 8601 UTC. */
  archived_at: string
  /** When the server had finished it: the mtime in pg_wal. Every commit in it is not later. */
  closed_at: string
  /** Only of sealed files. */
  encryption?:
    | {
        format: 1
        /** Whose public key the file's own key is sealed to. */
        epoch: string
        /** HPKE, base64. */
        data_key: string
        /** A mark by which the host that archived it knows the same content again. */
        identity: { key: string; mac: string } | null
      }
    | undefined
  /** Names the key of the host that archived it; absent where nothing is encrypted, and in files of earlier versions. */
  signer?: string | undefined
  /** Ed25519 over everything else in the header, base64. */
  signature?: string | undefined
}

/**
 * The head of a stored file: a skippable frame with one line of canonical JSON and a line with that one's SHA-256, so that
 * the head is sound by itself and `zstd -d` gives the plain file.
 */
export function formatWalHeader(header: WalFileHeader): Buffer {
  const json = `${canonicalJson(header)}\n`
  const payload = Buffer.from(`${json}${sha256Of(json)}\n`)
  const head = Buffer.alloc(FRAME_HEAD_BYTES)
  head.writeUInt32LE(SKIPPABLE_MAGIC, 0)
  head.writeUInt32LE(payload.byteLength, 4)
  return Buffer.concat([head, payload])
}

/**
 * Reads the head of a stored file from its first bytes.
 * @param where the file, for messages
 * @param expected what the path says the file is: another one's content is damage
 * @returns the head, and where the frames begin
 * @throws NexusError damage `wal_damaged`
 */
export function parseWalHeader(
  bytes: Buffer,
  where: string,
  expected: { name: string; systemIdentifier: string },
): { header: WalFileHeader; length: number } {
  const payload = payloadOf(bytes, where)
  const [json, digest] = [payload.subarray(0, -65), payload.subarray(-65)]
  if (digest.toString('latin1') !== `${sha256Of(json)}\n`) throw walDamaged(where, 'its header was changed')
  const result = v.safeParse(headerSchema, parsed(json, where), { abortEarly: true })
  if (!result.success) throw walDamaged(where, 'its header is not as it must be')
  const header = result.output
  if (`${canonicalJson(header)}\n` !== json.toString()) throw walDamaged(where, 'its header is not canonical')
  if ((header.sha256 === undefined) !== (header.encryption !== undefined)) {
    throw walDamaged(where, 'its header is not as it must be')
  }
  if ((header.signer === undefined) !== (header.signature === undefined)) {
    throw walDamaged(where, 'its header is not as it must be')
  }
  if (header.name !== expected.name) throw walDamaged(where, `it holds ${header.name}`)
  if (header.system_identifier !== expected.systemIdentifier) {
    throw walDamaged(where, `it is of system ${header.system_identifier}`)
  }
  return { header, length: FRAME_HEAD_BYTES + payload.byteLength }
}

function payloadOf(bytes: Buffer, where: string): Buffer {
  if (bytes.byteLength < FRAME_HEAD_BYTES || bytes.readUInt32LE(0) !== SKIPPABLE_MAGIC) {
    throw walDamaged(where, 'it does not begin with a header')
  }
  const length = bytes.readUInt32LE(4)
  const end = FRAME_HEAD_BYTES + length
  if (length < 66 || end > Math.min(walHeaderLimit, bytes.byteLength)) {
    throw walDamaged(where, 'its header is cut off or too long')
  }
  return bytes.subarray(FRAME_HEAD_BYTES, end)
}

function parsed(json: Buffer, where: string): unknown {
  try {
    return parseOutsideJson(json)
  } catch (cause) {
    throw walDamaged(where, messageOf(cause), cause)
  }
}

/** Adds a host's signature to a header. */
export function signedWalHeader(header: WalFileHeader, { id, sign }: Signer): WalFileHeader {
  const named = { ...header, signer: id }
  return { ...named, signature: sign(signedText(named)).toString('base64') }
}

/** Whether a header was signed with a key. @param publicKey raw ed25519 */
export function isWalSignedBy({ signature = '', ...header }: WalFileHeader, publicKey: Uint8Array): boolean {
  const bytes = Buffer.from(signature, 'base64')
  // Base64 has several texts for the same bytes: only one of them was written.
  return bytes.toString('base64') === signature && isSigned(publicKey, signedText(header), bytes)
}

function signedText(header: WalFileHeader): string {
  return `nexus-backup 1 wal signature ${canonicalJson(header)}`
}

/** A file of the archive is not what it must be. */
export function walDamaged(where: string, problem: string, cause?: unknown): NexusError {
  return new NexusError('damage', 'wal_damaged', `${where} is damaged: ${problem}`, {
    hint: 'recovery cannot go past it; take a full backup now: nexus-backup create --type full',
    cause,
  })
}
