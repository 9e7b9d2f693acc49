import { createHash } from 'node:crypto'
import * as v from 'valibot'
import { messageOf, NexusError } from '../errors.js'
import { canonicalJson, isPrettyJson, parseOutsideJson, prettyJson } from './json.js'
import { isBackupId, proofsDirectory } from './layout.js'
import { mapParallel } from './parallel.js'
import type { SmallFiles } from './small-files.js'
import type { Storage } from './storage/storage.js'
import type { Proof, ProofStatus } from './types.js'

/** Bytes a proof may have. */
const proofLimit = 4 * 1024 * 1024
/** `ID-TIME.json`, the time written like the id's. */
const proofName = /^\d{8}T\d{6}\.\d{3}Z-(?:full|diff|incr)-[0-9a-f]{4}-\d{8}T\d{6}\.\d{3}Z(?:-\d+)?\.json$/

/** Statuses that a reader of the first proofs does not know: it finds `unread` in their place, which changes nothing for it. */
const outcomes: readonly ProofStatus[] = ['source-damaged', 'drill-failed']

const text = v.pipe(v.string(), v.maxLength(1 << 20))
const proofSchema = v.object({
  id: v.pipe(text, v.check(isBackupId)),
  at: v.pipe(text, v.isoTimestamp()),
  status: v.picklist(['ok', 'damaged', 'unread']),
  /** Says more than an `unread`; one that is not known here is an `unread`. */
  outcome: v.exactOptional(text),
  level: v.picklist(['stored', 'content', 'drill']),
  findings: v.pipe(v.array(v.object({ part: text, problem: text })), v.maxLength(100_000)),
  drill: v.exactOptional(
    v.object({
      restore_ms: v.pipe(v.number(), v.minValue(0)),
      checks: v.pipe(v.array(v.object({ name: text, status: text, detail: text })), v.maxLength(10_000)),
    }),
  ),
})

/** On disk a proof carries a SHA-256 over the canonical JSON of everything else in it. */
const writtenSchema = v.looseObject({ sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)) })

/**
 * All proofs of a source, oldest first.
 *
 * @param onDamage told of each file that is no proof, which then counts for nothing; without it damage is thrown
 */
export async function readProofs(
  storage: SmallFiles,
  source: string,
  onDamage?: (error: NexusError) => void,
): Promise<Proof[]> {
  const directory = `${source}/${proofsDirectory}`
  const names = (await storage.list(directory)).map(entry => entry.name).filter(name => proofName.test(name))
  const found = await mapParallel(names, 16, async name => {
    try {
      return await readProof(storage, `${directory}/${name}`)
    } catch (error) {
      // It went with its backup while the others were read.
      if (error instanceof NexusError && error.kind === 'not-found') return undefined
      if (onDamage === undefined || !(error instanceof NexusError) || error.kind !== 'damage') throw error
      onDamage(error)
      return undefined
    }
  })
  const proofs = found.filter(proof => proof !== undefined)
  return proofs.sort((a, b) => compare(a.at, b.at) || compare(a.id, b.id))
}

/** Keeps a proof, write-once. Two of one backup in the same millisecond get names of their own. */
export async function writeProof(storage: Storage, source: string, proof: Proof): Promise<void> {
  const result = v.safeParse(proofSchema, storedForm(proof))
  if (!result.success)
    throw new NexusError('failed', 'proof_invalid', 'a proof that is not one was about to be written')
  const instant = new Date(proof.at).toISOString().replaceAll('-', '').replaceAll(':', '')
  const bytes = prettyJson({ ...result.output, sha256: digestOf(result.output) })
  for (let attempt = 1; ; attempt++) {
    const name = `${proof.id}-${instant}${attempt === 1 ? '' : `-${attempt}`}.json`
    try {
      return await storage.writeOnce(`${source}/${proofsDirectory}/${name}`, bytes)
    } catch (error) {
      if (!(error instanceof NexusError) || error.code !== 'exists' || attempt === 100) throw error
    }
  }
}

async function readProof(storage: SmallFiles, name: string): Promise<Proof> {
  const bytes = await storage.readSmall(name, proofLimit)
  const document = parsed(bytes, name)
  const written = v.safeParse(writtenSchema, document, { abortEarly: true })
  if (!written.success) throw damaged(name, 'it is not a proof')
  const { sha256, ...rest } = written.output
  if (digestOf(rest) !== sha256 || !isPrettyJson(bytes, document))
    throw damaged(name, 'it was changed after it was written')
  const result = v.safeParse(proofSchema, rest, { abortEarly: true })
  if (!result.success) throw damaged(name, 'it is not a proof')
  const own = name.slice(name.lastIndexOf('/') + 1).startsWith(`${result.output.id}-`)
  if (!own) throw damaged(name, 'it is the proof of another backup')
  return knownForm(result.output)
}

type StoredProof = v.InferOutput<typeof proofSchema>

function storedForm(proof: Proof): object {
  return outcomes.includes(proof.status) ? { ...proof, status: 'unread', outcome: proof.status } : proof
}

function knownForm({ outcome, ...proof }: StoredProof): Proof {
  const known = proof.status === 'unread' ? outcomes.find(status => status === outcome) : undefined
  return known === undefined ? proof : { ...proof, status: known }
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
  return new NexusError('damage', 'proof_damaged', `${name} is damaged: ${problem}`, {
    cause,
    hint: 'find out who changed it; once it is moved out of the repository, the other proofs count again',
  })
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
