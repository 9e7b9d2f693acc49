import * as v from 'valibot'
import { NexusError } from '../../errors.js'
import { isSigned } from '../../keys/epoch-keys.js'
import { canonicalJson } from '../json.js'
import type { Epoch } from '../keys/epoch.js'
import { signerIdOf } from '../keys/host-file.js'
import { base64, formatKeyDocument, instant, parseKeyDocument, shortText } from '../keys/key-document.js'
import { attestationFile, attestationsDirectory, isEpochId, type KeyReader, keyFileLimit } from '../keys/key-layout.js'
import type { Storage } from '../storage/storage.js'

const schema = v.looseObject({
  format: v.literal(1),
  /** The id of the repository that holds the copies. */
  repository: v.pipe(v.string(), v.uuid()),
  source: shortText,
  /** A line of epochs that the copies of this source are sealed to, by its first epoch. */
  line: v.looseObject({
    repository: v.pipe(v.string(), v.uuid()),
    epoch: v.pipe(v.string(), v.check(isEpochId)),
    signing_key: base64(32),
  }),
  host: shortText,
  /** Ed25519, raw: the key of the host that made the copy. */
  signing_key: base64(32),
  attested: instant,
  /** By that key, over everything else here. */
  signature: base64(64),
})

/** A host's word that the copies of a source come from the holders of a line of epochs. */
export type Attestation = v.InferOutput<typeof schema>

/** Who attests. */
interface Attester {
  publicKey: Buffer
  sign(message: string): Buffer
}

const most = 100

/**
 * What is attested of a source's copies, in the order in which it was written. What is damaged, not signed, or of another
 * repository or source says nothing.
 */
export async function readAttestations(storage: KeyReader, repository: string, source: string): Promise<Attestation[]> {
  const found = await storage.list(attestationsDirectory(source))
  const numbers = found.flatMap(({ name }) => numberOf(name) ?? []).sort((a, b) => a - b)
  const attestations: Attestation[] = []
  for (const number of numbers) {
    const attestation = await readOne(storage, attestationFile(source, number))
    if (attestation?.repository === repository && attestation.source === source) attestations.push(attestation)
  }
  return attestations
}

/** Attests a line of epochs; the first of two hosts that write at the same time takes the number. */
export async function writeAttestation(
  storage: Storage,
  { repository, source, line, host, now }: { repository: string; source: string; line: Epoch; host: string; now: Date },
  { publicKey, sign }: Attester,
): Promise<void> {
  const document = {
    format: 1,
    repository,
    source,
    line: { repository: line.repository, epoch: line.id, signing_key: line.signing_key.toString('base64') },
    host,
    signing_key: publicKey.toString('base64'),
    attested: now.toISOString(),
  }
  const bytes = formatKeyDocument({ ...document, signature: sign(textOf(document)).toString('base64') })
  const found = await storage.list(attestationsDirectory(source))
  let number = Math.max(0, ...found.flatMap(({ name }) => numberOf(name) ?? [])) + 1
  for (; number <= most; number += 1) {
    try {
      return await storage.writeOnce(attestationFile(source, number), bytes)
    } catch (error) {
      if (!(error instanceof NexusError) || error.code !== 'exists') throw error
    }
  }
  throw new NexusError('failed', 'attestations_full', `${attestationsDirectory(source)} holds too many files`, {
    hint: 'find out who wrote them, and move away those that are not yours',
  })
}

/** Whether an attestation is of this line. @param line its epochs */
export function attests({ line: { epoch, signing_key } }: Attestation, line: readonly Epoch[]): boolean {
  return line.some(({ id, signing_key: key }) => id === epoch && key.equals(signing_key))
}

/** Name of the key that an attestation is signed with. */
export function attesterOf({ signing_key }: Attestation): string {
  return signerIdOf(signing_key)
}

async function readOne(storage: KeyReader, name: string): Promise<Attestation | undefined> {
  try {
    const attestation = parseKeyDocument(schema, await storage.readSmall(name, keyFileLimit), name)
    const { signature, ...rest } = attestation
    const line = { ...rest.line, signing_key: rest.line.signing_key.toString('base64') }
    const text = textOf({ ...rest, line, signing_key: rest.signing_key.toString('base64') })
    return isSigned(attestation.signing_key, text, signature) ? attestation : undefined
  } catch (error) {
    if (error instanceof NexusError && (error.kind === 'damage' || error.kind === 'not-found')) return undefined
    throw error
  }
}

function numberOf(name: string): number | undefined {
  const [, digits] = /^([1-9]\d{0,2})\.json$/.exec(name) ?? []
  return digits === undefined || Number(digits) > most ? undefined : Number(digits)
}

function textOf(document: object): string {
  return `nexus-backup 1 copies ${canonicalJson(document)}`
}
