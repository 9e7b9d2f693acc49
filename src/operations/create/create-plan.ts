import type { ChainPolicy } from '../../config/settings.js'
import { brokenChains, bySequence } from '../../policy/chains.js'
import type { BackupType, DigestAlgorithm, Manifest } from '../../repository/manifest.js'
import { ancestryOf } from '../chain-members.js'
import type { Survey } from '../survey.js'

/** What decides whether blocks of an earlier backup can be compared with the source's. */
export type SourceIdentity =
  | { kind: 'sqlite'; device: number; inode: number; page_size: number }
  | { kind: 'postgres'; system_identifier: string }
  | { kind: 'files' }

export interface CreatePlan {
  type: BackupType
  /** The backup to compare with; null for a full. */
  parent: Manifest | null
  /** Why this type, for `--dry-run` and `--verbose`. */
  reason: string
  /** What the operator should know: a full where an increment was asked for, a replaced file. */
  warnings: string[]
}

export interface CreatePlanInput {
  requested: 'auto' | BackupType
  manifests: readonly Manifest[]
  /** Ids whose bytes are known to be damaged, and damaged directories. */
  damaged: ReadonlySet<string>
  identity: SourceIdentity
  digestAlgorithm: DigestAlgorithm
  policy: ChainPolicy
  /** A new claim: nothing that was here before is ours to build on. */
  adopted: boolean
  now: Date
}

/**
 * Chooses type and parent (design section 6): `auto` is an incr while the chain is sound, young and short; what cannot
 * be made becomes a full and says why.
 */
export function planCreate(input: CreatePlanInput): CreatePlan {
  const ordered = [...input.manifests].sort(bySequence)
  const latest = ordered.at(-1)
  const warnings = clockWarning(latest, input.now)
  const full = (reason: string, surprising: boolean): CreatePlan => {
    const said = surprising || (input.requested !== 'auto' && input.requested !== 'full')
    return { type: 'full', parent: null, reason, warnings: said ? [...warnings, `made a full: ${reason}`] : warnings }
  }
  if (input.requested === 'full') return full('asked for', false)
  if (latest === undefined) return full('there is no backup yet', false)
  if (input.adopted) return full('the source has been adopted', true)
  const broken = brokenChains(ordered, input.damaged)
  const parent = ordered.findLast(({ id, type }) => !broken.has(id) && (input.requested !== 'diff' || type === 'full'))
  if (parent === undefined) return full('every chain so far is damaged', true)
  if (broken.has(latest.id))
    warnings.push(`the latest backup, ${latest.id}, cannot be built on: ${broken.get(latest.id)}`)
  const changed = identityChange(parent, input)
  if (changed !== null) return full(changed, true)
  const chain = chainStatistics(parent, ordered)
  const due = input.requested === 'auto' ? reasonForNewChain(chain, input) : null
  if (due !== null) return full(due, false)
  const type = input.requested === 'diff' ? 'diff' : 'incr'
  return { type, parent, reason: `changes since ${parent.id}`, warnings }
}

/**
 * The plan for what was captured in the end: a database may be replaced, or change its page size, between the look that
 * was planned with and the capture, and blocks of two sizes make no chain.
 */
export function planForCaptured(plan: CreatePlan, identity: SourceIdentity): CreatePlan {
  const reason = plan.parent === null ? null : replacement(plan.parent, identity)
  if (reason === null) return plan
  return { type: 'full', parent: null, reason, warnings: [...plan.warnings, `made a full: ${reason}`] }
}

/** Ids of what the next backup may stand on: the newest that is sound, or the newest such full, and their chains. */
export function parentsIn({ manifests, broken }: Pick<Survey, 'manifests' | 'broken'>): string[] {
  const sound = manifests.filter(({ id }) => !broken.has(id))
  const newest = [sound.at(-1), sound.findLast(({ type }) => type === 'full')]
  return newest.flatMap(member => (member === undefined ? [] : ancestryOf(member.id, manifests)))
}

function clockWarning(latest: Manifest | undefined, now: Date): string[] {
  if (latest === undefined || Date.parse(latest.captured_at) <= now.getTime()) return []
  return [`the clock was set back: ${latest.id} is dated after now; order goes by sequence, not by time`]
}

function identityChange(parent: Manifest, input: CreatePlanInput): string | null {
  const replaced = replacement(parent, input.identity)
  if (replaced !== null) return replaced
  return parent.digest_algorithm === input.digestAlgorithm
    ? null
    : `the digest algorithm is now ${input.digestAlgorithm}`
}

function replacement({ kind, facts }: Manifest, identity: SourceIdentity): string | null {
  if (kind !== identity.kind) return `the source was of kind ${kind}`
  if (identity.kind === 'sqlite') {
    const { device, inode, page_size: pageSize } = facts
    if (pageSize !== identity.page_size) return `the page size changed from ${pageSize} to ${identity.page_size} bytes`
    const same = device === identity.device && inode === identity.inode
    return same ? null : 'the database file was replaced since the last backup'
  }
  if (identity.kind === 'postgres' && facts.system_identifier !== identity.system_identifier) {
    return 'the cluster is another one than at the last backup'
  }
  return null
}

interface ChainStatistics {
  full: Manifest
  length: number
  /** Stored bytes of everything on top of the full. */
  increments: number
}

/** Everything that stands on the full of `member`'s chain. */
function chainStatistics(member: Manifest, ordered: readonly Manifest[]): ChainStatistics {
  const rootOf = new Map<string, string>()
  for (const { id, type, parent } of ordered) {
    rootOf.set(id, type === 'full' || parent === null ? id : (rootOf.get(parent) ?? id))
  }
  const members = ordered.filter(({ id }) => rootOf.get(id) === rootOf.get(member.id))
  const [full = member, ...rest] = members
  return { full, length: members.length, increments: rest.reduce((sum, { bytes_stored }) => sum + bytes_stored, 0) }
}

function reasonForNewChain(chain: ChainStatistics, { policy, now }: CreatePlanInput): string | null {
  const age = now.getTime() - Date.parse(chain.full.captured_at)
  if (age > policy.maxAge) return `the last full is more than ${Math.round(policy.maxAge / 86_400_000)} days old`
  if (chain.length >= policy.maxLength) return `the chain has ${chain.length} members`
  if (chain.increments > chain.full.bytes_stored * policy.maxRatio) {
    return `the increments exceed ${Math.round(policy.maxRatio * 100)} % of the full`
  }
  return null
}
