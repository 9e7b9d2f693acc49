import { createHash } from 'node:crypto'
import * as v from 'valibot'
import { messageOf, NexusError } from '../errors.js'
import { isSigned } from '../keys/epoch-keys.js'
import { canonicalJson, isPrettyJson, parseOutsideJson, prettyJson } from './json.js'
import { isBackupId } from './layout.js'
import type { Signer } from './sealed/sealed-manifest.js'
import type { PastOutcome, Proof, ProofStatus } from './types.js'

/** Bytes a proof may have. */
export const proofLimit = 4 * 1024 * 1024

/** Statuses that a reader of the first proofs does not know: it finds `unread` in their place, which changes nothing for it. */
const outcomes: readonly ProofStatus[] = ['source-damaged', 'drill-failed']

const text = v.pipe(v.string(), v.maxLength(1 << 20))
const outcomeEntries = {
  at: v.pipe(text, v.isoTimestamp()),
  status: v.picklist(['ok', 'damaged', 'unread']),
  /** Says more than an `unread`; one that is not known here is an `unread`. */
  outcome: v.exactOptional(text),
  level: v.picklist(['stored', 'content', 'drill']),
  drill: v.exactOptional(
    v.object({
      restore_ms: v.pipe(v.number(), v.minValue(0)),
      checks: v.pipe(v.array(v.object({ name: text, status: text, detail: text })), v.maxLength(10_000)),
    }),
  ),
}
const proofSchema = v.object({
  id: v.pipe(text, v.check(isBackupId)),
  ...outcomeEntries,
  findings: v.pipe(v.array(v.object({ part: text, problem: text })), v.maxLength(100_000)),
  /** Earlier outcomes of the same backup that still count. */
  history: v.exactOptional(v.pipe(v.array(v.object(outcomeEntries)), v.maxLength(100))),
  /** Names of files that this one stands for. */
  replaces: v.exactOptional(v.pipe(v.array(text), v.maxLength(100))),
  signer: v.exactOptional(text),
  signature: v.exactOptional(text),
})

/** On disk a proof carries a SHA-256 over the canonical JSON of everything else in it. */
const writtenSchema = v.looseObject({ sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)) })

/** Where a proof belongs; its signature binds it to that place. */
export interface ProofPlace {
  /** The repository's id. */
  repository: string
  source: string
}

/** What one file among the proofs says. */
export interface ProofFile {
  proof: Proof
  history: PastOutcome[]
  replaces: string[]
  /** The id of the key that it names as its signer's. */
  signer: string | undefined
  /** Whether this raw Ed25519 key has signed it for a place. */
  isSignedBy(key: Uint8Array, place: ProofPlace): boolean
}

/**
 * The bytes of a proof.
 *
 * @param record.signer signs it, where it must be signed to count
 * @throws NexusError failed `proof_invalid`
 */
export function formatProof(
  record: { proof: Proof; history: PastOutcome[]; replaces: string[]; signer?: Signer | undefined },
  place: ProofPlace,
): Buffer {
  const { proof, history, replaces, signer } = record
  const document = {
    ...storedForm(proof),
    ...(history.length === 0 ? {} : { history: history.map(storedForm) }),
    ...(replaces.length === 0 ? {} : { replaces }),
    ...(signer === undefined ? {} : { signer: signer.id }),
  }
  const result = v.safeParse(proofSchema, document)
  if (!result.success)
    throw new NexusError('failed', 'proof_invalid', 'a proof that is not one was about to be written')
  const plain = result.output
  const signed =
    signer === undefined ? plain : { ...plain, signature: signer.sign(signedText(plain, place)).toString('base64') }
  return prettyJson({ ...signed, sha256: digestOf(signed) })
}

/**
 * Reads a proof.
 * @param name its file's, whose last part begins with the id of the backup
 * @throws NexusError damage `proof_damaged`
 */
export function parseProof(bytes: Uint8Array, name: string): ProofFile {
  const document = parsed(bytes, name)
  const written = v.safeParse(writtenSchema, document, { abortEarly: true })
  if (!written.success) throw damaged(name, 'it is not a proof')
  const { sha256, ...rest } = written.output
  if (digestOf(rest) !== sha256 || !isPrettyJson(bytes, document))
    throw damaged(name, 'it was changed after it was written')
  const result = v.safeParse(proofSchema, rest, { abortEarly: true })
  if (!result.success) throw damaged(name, 'it is not a proof')
  const { history = [], replaces = [], signer, signature, outcome: _outcome, ...proof } = result.output
  const own = name.slice(name.lastIndexOf('/') + 1).startsWith(`${proof.id}-`)
  if (!own) throw damaged(name, 'it is the proof of another backup')
  return {
    proof: { ...proof, status: statusOf(result.output) },
    history: history.map(({ outcome: said, ...past }) => ({ ...past, status: statusOf({ ...past, outcome: said }) })),
    replaces,
    signer,
    isSignedBy(key, place) {
      if (signature === undefined) return false
      const { signature: _signature, ...plain } = rest as Record<string, unknown>
      return isSigned(key, signedText(plain, place), Buffer.from(signature, 'base64'))
    },
  }
}

/** A proof of one repository or source says nothing in another, where the same backup may be a damaged copy. */
function signedText(document: object, { repository, source }: ProofPlace): string {
  return `nexus-backup 1 proof ${canonicalJson({ ...document, repository, source })}`
}

function storedForm(outcome: PastOutcome): object {
  const { status } = outcome
  return outcomes.includes(status) ? { ...outcome, status: 'unread', outcome: status } : outcome
}

function statusOf({ status, outcome }: { status: ProofStatus; outcome?: string | undefined }): ProofStatus {
  return (status === 'unread' ? outcomes.find(known => known === outcome) : undefined) ?? status
}

function digestOf(proof: object): string {
  return createHash('sha256').update(canonicalJson(proof)).digest('hex')
}

function parsed(bytes: Uint8Array, name: string): unknown {
  try {
    return parseOutsideJson(bytes)
  } catch (cause) {
    throw damaged(name, messageOf(cause), cause)
  }
}

function damaged(name: string, problem: string, cause?: unknown): NexusError {
  const [source = ''] = name.split('/')
  return new NexusError('damage', 'proof_damaged', `${name} is damaged: ${problem}`, {
    cause,
    hint: `it counts for nothing; a new one takes its place with: nexus-backup verify ${source}`,
  })
}
