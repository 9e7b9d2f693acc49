import { timingSafeEqual } from 'node:crypto'
import * as v from 'valibot'
import { messageOf, NexusError } from '../../errors.js'
import { box, unbox } from '../../keys/box.js'
import { macOf } from '../../keys/derive.js'
import { isSigned } from '../../keys/epoch-keys.js'
import { canonicalJson, parseOutsideJson } from '../json.js'
import { type Check, type Encryption, type Manifest, manifestSchema } from '../manifest.js'
import type { BackupKey } from './backup-key.js'

/** Who signs manifests here. */
export interface Signer {
  /** Names the public half. */
  id: string
  sign(message: string): Buffer
}

/** Facts that may hold what only the owner of the data should see: texts of files, paths, settings with passwords. */
const sealedFacts = ['configuration_files', 'settings', 'roots', 'exclude', 'include']

const insideSchema = v.object({
  digest_seed: v.nonNullable(manifestSchema.entries.digest_seed),
  image_digest: v.nonNullable(manifestSchema.entries.image_digest),
  checks: manifestSchema.entries.checks,
  warnings: manifestSchema.entries.warnings,
  facts: manifestSchema.entries.facts,
})

/** The manifest as it is stored: what is sealed is out of sight, the rest is bound by MAC and signature. */
export function sealManifest(
  manifest: Manifest,
  { key, dataKey, epoch, signer }: { key: BackupKey; dataKey: string; epoch: string; signer: Signer },
): Manifest {
  const { digest_seed, image_digest, checks, warnings, facts } = manifest
  const inside = {
    digest_seed,
    image_digest,
    checks,
    warnings,
    facts: partOf(facts, name => sealedFacts.includes(name)),
  }
  const sealed = box(key.manifest, Buffer.from(canonicalJson(inside)), boundTo(manifest.id))
  const outside: Manifest = {
    ...manifest,
    digest_seed: null,
    image_digest: null,
    checks: checks.map(withoutContent),
    warnings: warnings.length === 0 ? [] : [`${warnings.length} sealed`],
    facts: partOf(facts, name => !sealedFacts.includes(name)),
  }
  const encryption = {
    format: 1 as const,
    epoch,
    data_key: dataKey,
    sealed: sealed.toString('base64'),
    signer: signer.id,
  }
  const mac = macOf(key.mac, boundText({ ...outside, encryption }))
  const signature = signer.sign(signedText({ ...outside, encryption: { ...encryption, mac } })).toString('base64')
  return { ...outside, encryption: { ...encryption, mac, signature } }
}

/**
 * The manifest as it was before it was sealed.
 * @throws NexusError damage `manifest_forged` when the MAC does not hold
 */
export function openManifest(stored: Manifest, encryption: Encryption, key: BackupKey): Manifest {
  const { mac, signature, ...rest } = encryption
  const expected = macOf(key.mac, boundText({ ...stored, encryption: rest }))
  if (!timingSafeEqual(Buffer.from(expected), Buffer.from(mac))) throw forged(stored.id, 'its MAC does not hold')
  const bytes = unbox(key.manifest, Buffer.from(encryption.sealed, 'base64'), boundTo(stored.id))
  if (bytes === undefined) throw forged(stored.id, 'what is sealed in it does not open')
  const inside = v.safeParse(insideSchema, parsed(bytes, stored.id), { abortEarly: true })
  if (!inside.success) throw forged(stored.id, 'what is sealed in it is not as it must be')
  const { facts, ...opened } = inside.output
  return { ...stored, ...opened, facts: { ...stored.facts, ...facts } }
}

/** Whether the manifest was signed with a key. @param publicKey raw ed25519 */
export function isSignedBy(stored: Manifest, encryption: Encryption, publicKey: Uint8Array): boolean {
  const { signature, ...rest } = encryption
  const bytes = Buffer.from(signature, 'base64')
  // Base64 has several texts for the same bytes: only one of them was written.
  if (bytes.toString('base64') !== signature) return false
  return isSigned(publicKey, signedText({ ...stored, encryption: rest }), bytes)
}

/** A check without what a query says and found: that it was made, and whether it passed. */
function withoutContent({ kind, status, name }: Check, number: number): Check {
  const shown = kind === 'content' ? `content check ${number + 1}` : name
  return { name: shown, kind, status, detail: 'sealed' }
}

function boundTo(id: string): string {
  return `nexus-backup 1 manifest ${id}`
}

function boundText(manifest: object): string {
  return `nexus-backup 1 manifest mac ${canonicalJson(manifest)}`
}

function signedText(manifest: object): string {
  return `nexus-backup 1 manifest signature ${canonicalJson(manifest)}`
}

function partOf(facts: Record<string, unknown>, wanted: (name: string) => boolean): Record<string, unknown> {
  return Object.fromEntries(Object.entries(facts).filter(([name]) => wanted(name)))
}

function parsed(bytes: Buffer, id: string): unknown {
  try {
    return parseOutsideJson(bytes)
  } catch (cause) {
    throw forged(id, messageOf(cause), cause)
  }
}

function forged(id: string, problem: string, cause?: unknown): NexusError {
  return new NexusError('damage', 'manifest_forged', `the manifest of ${id} is not what was written: ${problem}`, {
    cause,
    hint: 'somebody may have changed the repository: nexus-backup-recovery(7), suspected intruder',
  })
}
