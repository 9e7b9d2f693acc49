import { createHash } from 'node:crypto'
import * as v from 'valibot'
import { messageOf, NexusError } from '../errors.js'
import { canonicalJson, isPrettyJson, parseOutsideJson, prettyJson } from './json.js'
import { claimFile, quoted } from './layout.js'
import { FORMAT, type Manifest, sourceKinds } from './manifest.js'
import type { Claim } from './types.js'

/** Bytes a source.json may have. */
export const claimLimit = 1024 * 1024

const text = v.pipe(v.string(), v.maxLength(4096))
const claimSchema = v.looseObject({
  kind: v.picklist(sourceKinds),
  host: text,
  path: v.nullable(text),
  system_identifier: v.nullable(text),
})
const documentSchema = v.looseObject({
  format: v.literal(FORMAT),
  claim: claimSchema,
  claimed_at: text,
  /** Claims that `--adopt` replaced, oldest first; kept for whoever asks later. */
  former: v.array(v.unknown()),
  /** SHA-256 over the canonical JSON of everything else here. */
  sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
})
export type ClaimDocument = v.InferOutput<typeof documentSchema>

/** The bytes of a source.json. */
export function formatClaim(claim: Claim, claimedAt: Date, former: unknown[]): Buffer {
  const { kind, host, path, system_identifier } = claim
  const rest = {
    format: FORMAT,
    claim: { kind, host, path, system_identifier },
    claimed_at: claimedAt.toISOString(),
    former,
  }
  return prettyJson({ ...rest, sha256: digestOf(rest) })
}

/**
 * Reads a source.json.
 * @param source for messages
 * @throws NexusError damage when it is not what we wrote
 */
export function parseClaim(bytes: Uint8Array, source: string): ClaimDocument {
  const document = parsed(bytes, source)
  const result = v.safeParse(documentSchema, document, { abortEarly: true })
  if (!result.success) {
    const [issue] = result.issues
    throw damaged(source, `${quoted(v.getDotPath(issue) ?? 'the whole')} is not as it must be`)
  }
  const { sha256, ...rest } = result.output
  if (digestOf(rest) !== sha256 || !isPrettyJson(bytes, document))
    throw damaged(source, 'it was changed after it was written')
  return result.output
}

/** The claims among what `--adopt` kept; one that could not be read even then is left out. */
export function formerClaimsOf(former: readonly unknown[]): Claim[] {
  return former.flatMap(entry => {
    const known = v.safeParse(v.looseObject({ claim: claimSchema }), entry)
    return known.success ? [known.output.claim] : []
  })
}

/** Whether two claims are the same claimant's: the server for a cluster, host and path for the rest. */
export function sameClaimant(a: Claim, b: Claim): boolean {
  if (a.kind !== b.kind) return false
  if (a.kind === 'postgres') return a.system_identifier === b.system_identifier
  return a.host === b.host && a.path === b.path
}

/**
 * The newest of these backups that is signed, where it is not the claimant's: a claim carries no signature, and whoever may
 * change files can put another in its place. The host and the path of a cluster are only recorded.
 * @param ours backups that count, oldest first
 */
export function contradicting(claim: Omit<Claim, 'path'>, ours: readonly Manifest[]): Manifest | undefined {
  const newest = ours.findLast(({ encryption }) => encryption !== undefined)
  if (newest === undefined) return undefined
  const { system_identifier: system } = newest.facts
  const isSame =
    claim.kind === 'postgres'
      ? typeof system !== 'string' || system === claim.system_identifier
      : newest.host === claim.host
  return newest.kind === claim.kind && isSame ? undefined : newest
}

/** A claimant in words. */
export function describeClaim(claim: Claim): string {
  const what = claim.kind === 'postgres' ? `cluster ${quoted(claim.system_identifier ?? '')}` : quoted(claim.path ?? '')
  return `${claim.kind} ${what} on host ${quoted(claim.host)}`
}

function digestOf(rest: object): string {
  return createHash('sha256').update(canonicalJson(rest)).digest('hex')
}

function parsed(bytes: Uint8Array, source: string): unknown {
  try {
    return parseOutsideJson(bytes)
  } catch (cause) {
    throw damaged(source, messageOf(cause), cause)
  }
}

function damaged(source: string, problem: string, cause?: unknown): NexusError {
  return new NexusError('damage', 'claim_damaged', `${claimFile} of source ${source} is damaged: ${problem}`, {
    cause,
    hint: 'find out who changed it; then `nexus-backup create --adopt` writes a new one and starts with a full backup',
  })
}
