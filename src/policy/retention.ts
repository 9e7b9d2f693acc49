import type { KeepPolicy } from '../config/settings.js'
import { NexusError } from '../errors.js'
import { brokenChains, bySequence, type ChainMember, indexById } from './chains.js'
import { lastProven, neededBy, pinnedByLost } from './guards.js'
import { type Candidate, isEmptyPolicy, rulesOf, type Selection } from './rules.js'

/** A backup as retention sees it; every manifest is one. */
export interface RetentionBackup extends ChainMember {
  captured_at: string
  /** An instant, `forever`, or null for what the policy says. */
  keep_until: string | null
  /** Something was missing when it was made, or may be torn. */
  incomplete?: boolean | undefined
}

export interface RetentionInput {
  /** The backups of one source whose manifests can be read, in any order. */
  backups: readonly RetentionBackup[]
  /** Ids that must not be touched or relied upon, also of directories without a readable manifest. */
  damaged: ReadonlySet<string>
  /** Ids of backups made from a damaged source (`unsoundBackups`). */
  unsound: ReadonlySet<string>
  /** Ids that are proven (`provenBackups`). */
  proven: ReadonlySet<string>
  /** Ids that something beside the rules needs, each with the reason: the window of `keep.pitr`. */
  pinned?: ReadonlyMap<string, string>
  policy: KeepPolicy
  /** IANA zone of the calendar. */
  timezone: string
  now: Date
}

export interface Decision {
  id: string
  reasons: string[]
}

/** Every backup handed in stands in exactly one of the two lists. */
export interface RetentionPlan {
  /** Oldest first. */
  keep: Decision[]
  /** In an order to carry out: newest first, so that nothing is ever left whose parent is gone. */
  delete: Decision[]
}

/**
 * Decides what retention keeps and what it lets go, and why (design section 6, prune).
 *
 * - Rules are OR-ed and each counts alone; the newest of a calendar period stands for it; periods without a backup
 *   are not counted.
 * - A kept backup keeps every backup it needs.
 * - Never deleted: the last proven backup (none proven: the newest that can be restored), what `keep_until` holds,
 *   what is damaged, and what cannot be restored because of damage: that is for a human to look at.
 * - What `pinned` names stays as well: `keep.pitr` deletes nothing by itself, it only needs bases.
 * - Backups captured in the future, those of a damaged source, and incomplete ones are counted apart: they take no sound
 *   backup's place: whoever can add backups must not be able to have the good ones deleted.
 * - `within` counts back from the newest backup, not from now (as in restic): when backups stop, or this machine's
 *   clock is ahead, nothing is lost. It never looks past now.
 *
 * @throws NexusError refused `empty_policy`
 */
export function planRetention(input: RetentionInput): RetentionPlan {
  if (isEmptyPolicy(input.policy)) throw emptyPolicy([])
  const ordered = [...input.backups].sort(bySequence)
  const byId = indexById(ordered)
  const broken = brokenChains(ordered, input.damaged)
  const groups = applyRules(
    input,
    ordered.filter(({ id }) => !broken.has(id)),
  )
  const reasons = new Map<string, string[]>(ordered.map(({ id }) => [id, []]))
  for (const [id, reason] of reasonsToKeep(input, ordered, broken, groups)) reasons.get(id)?.push(reason)
  const wanted = ordered.filter(({ id }) => isKept(reasons, id))
  for (const [id, child] of neededBy(wanted, byId)) reasons.get(id)?.push(`needed by ${child}`)

  const kept = ordered.filter(({ id }) => isKept(reasons, id))
  const deleted = ordered.filter(({ id }) => !isKept(reasons, id)).reverse()
  const whyNot = new Map(groups.flatMap(reasonsToDelete))
  return {
    keep: kept.map(({ id }) => ({ id, reasons: reasons.get(id) ?? [] })),
    delete: deleted.map(({ id }) => ({ id, reasons: whyNot.get(id) ?? [] })),
  }
}

function isKept(reasons: ReadonlyMap<string, string[]>, id: string): boolean {
  return (reasons.get(id)?.length ?? 0) > 0
}

/** Everything that speaks for a backup by itself, as pairs of id and reason. */
function* reasonsToKeep(
  { damaged, proven, pinned = new Map(), now }: RetentionInput,
  ordered: readonly RetentionBackup[],
  broken: ReadonlyMap<string, string>,
  groups: readonly Group[],
): Generator<[string, string]> {
  for (const [id, problem] of broken) yield [id, `left alone: ${problem}`]
  for (const { id, captured_at } of ordered) {
    if (Number.isNaN(Date.parse(captured_at))) yield [id, 'left alone: its time of capture cannot be read']
  }
  for (const [id, lost] of pinnedByLost(indexById(ordered), damaged)) {
    yield [id, `may be needed by ${lost}, which is damaged`]
  }
  for (const { suffix, selections } of groups) {
    for (const { kept } of selections) for (const [id, reason] of kept) yield [id, reason + suffix]
  }
  for (const { id, keep_until } of ordered) {
    if (keep_until === 'forever') yield [id, 'kept for ever']
    else if (keep_until !== null && !(Date.parse(keep_until) <= now.getTime())) yield [id, `kept until ${keep_until}`]
  }
  yield* pinned
  const restorable = ordered.filter(({ id }) => !broken.has(id))
  const last = lastProven(restorable, proven)
  if (last !== undefined) yield [last.id, last.reason]
}

function reasonsToDelete({ suffix, members, selections }: Group): [string, string[]][] {
  return members.map(member => [member.id, selections.map(selection => selection.whyNot(member) + suffix)])
}

/**
 * The refusal of a policy that keeps nothing. `sources` are named when there are any.
 * @param pitr whether `keep.pitr` is all there is: it says how long WAL stays, not which backups
 */
export function emptyPolicy(sources: readonly string[], pitr = false): NexusError {
  const whose = sources.length === 0 ? '' : ` for ${sources.join(', ')}`
  if (pitr) {
    return new NexusError(
      'refused',
      'empty_policy',
      `the retention policy${whose} keeps WAL (keep.pitr) but no backup, so nothing was deleted`,
      { hint: 'say which backups to keep too, in the configuration, for example: keep: { pitr: 14d, daily: 30 }' },
    )
  }
  const example = ['nexus-backup prune', ...sources, '--keep-daily 30 --keep-monthly 12 --dry-run'].join(' ')
  return new NexusError(
    'refused',
    'empty_policy',
    `the retention policy${whose} keeps nothing, so nothing was deleted`,
    {
      hint: `say what to keep, in the configuration (keep:) or with flags, for example: ${example}`,
    },
  )
}

interface Group {
  suffix: string
  members: Candidate[]
  selections: Selection[]
}

function applyRules(input: RetentionInput, restorable: readonly RetentionBackup[]): Group[] {
  const now = input.now.getTime()
  const candidates = restorable.map(({ id, sequence, captured_at }) => ({ id, sequence, at: Date.parse(captured_at) }))
  const incomplete = new Set(restorable.flatMap(backup => (backup.incomplete === true ? [backup.id] : [])))
  const past = candidates.filter(({ at }) => at <= now)
  const rules = rulesOf(input.policy, input.timezone, past.at(-1)?.at ?? now)
  const groups = [
    { suffix: '', members: past.filter(({ id }) => !input.unsound.has(id) && !incomplete.has(id)) },
    {
      suffix: ' (incomplete, counted apart)',
      members: past.filter(({ id }) => !input.unsound.has(id) && incomplete.has(id)),
    },
    { suffix: ' (of a damaged source, counted apart)', members: past.filter(({ id }) => input.unsound.has(id)) },
    { suffix: ' (captured in the future, counted apart)', members: candidates.filter(({ at }) => at > now) },
  ]
  return groups.map(group => ({ ...group, selections: rules.map(rule => rule(group.members)) }))
}
