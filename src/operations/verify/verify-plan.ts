import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import { standingOnApart } from '../../policy/trust.js'
import { contradicting, describeClaim } from '../../repository/claim.js'
import { quoted } from '../../repository/layout.js'
import type { Manifest } from '../../repository/manifest.js'
import type { Claim, SourceRoom } from '../../repository/types.js'
import { chainOf } from '../chain-members.js'
import { type History, loadHistory } from '../survey.js'
import type { ApartBackup } from '../trust/judged.js'
import { readWalKeptFrom } from '../wal/wal-kept-from.js'

/** What to verify of one source. */
export interface VerifyPlan {
  room: SourceRoom
  manifests: ReadonlyMap<string, Manifest>
  /** Of these, which are not ours; no proof is kept of them. */
  apart: ReadonlyMap<string, ApartBackup>
  /** Those of ours that stand on one of them. */
  cut: ReadonlySet<string>
  /** Backups to check, parents first; the chains of the targets are among them. */
  check: Manifest[]
  /** Damaged directories among the targets. */
  lost: { id: string; problem: string }[]
  /** What the operator named: a drill restores these. For a source, its latest. */
  targets: Manifest[]
  /** Something about the source's own files. */
  problems: { part: string; problem: string }[]
  /** Whether archived WAL belongs to what was asked for. */
  hasWal: boolean
  /** What was asked for, to plan again once a lock keeps backups from being pruned. */
  wanted: readonly string[]
}

/**
 * Finds what the targets mean: ids, prefixes, source names; nothing means everything.
 *
 * @throws NexusError `not-found` for a target that means nothing
 */
export async function planVerify(
  context: Context,
  rooms: readonly SourceRoom[],
  targets: readonly string[],
): Promise<VerifyPlan[]> {
  const surveys = await Promise.all(rooms.map(async room => ({ room, history: await loadHistory(context, room) })))
  const wanted = targets.length > 0 ? targets : [...new Set(rooms.map(({ name }) => name))]
  for (const target of wanted) {
    const meant = surveys.some(
      ({ room, history }) => room.name === target || history.entries.some(({ id }) => id.startsWith(target)),
    )
    if (!meant) {
      throw new NexusError('not-found', 'backup_not_found', `there is no backup or source '${target}'`, {
        hint: "'nexus-backup list --all' shows what there is",
      })
    }
  }
  const plans: VerifyPlan[] = []
  for (const { room, history } of surveys) {
    context.signal.throwIfAborted()
    const plan = await planRoom(room, history, wanted)
    if (plan.check.length + plan.lost.length + plan.problems.length > 0 || plan.hasWal) plans.push(plan)
  }
  return plans
}

/** The same plan for what is there now. */
export async function planAgain(context: Context, { room, wanted }: VerifyPlan): Promise<VerifyPlan> {
  return planRoom(room, await loadHistory(context, room, { thorough: true }), wanted)
}

async function planRoom(
  room: SourceRoom,
  { entries, ours, apart }: History,
  wanted: readonly string[],
): Promise<VerifyPlan> {
  const whole = wanted.includes(room.name)
  const named = ({ id }: { id: string }) =>
    whole || wanted.some(target => target !== room.name && id.startsWith(target))
  const sound = entries.flatMap(entry => (entry.status === 'ok' ? [entry.manifest] : []))
  const manifests = new Map(sound.map(manifest => [manifest.id, manifest]))
  const chosen = sound.filter(named)
  const hasWal = (await room.walSystems()).length > 0
  // Who makes a source's first backup claims its name before that: until then nothing is missing.
  const isClaimed = hasWal || entries.some(({ status }) => status !== 'partial')
  const own = new Set(ours.map(({ id }) => id))
  const strangers = new Map(apart.map(one => [one.member.id, one]))
  const check = new Set(chosen.flatMap(manifest => withAncestors(manifest, manifests)))
  return {
    room,
    manifests,
    apart: strangers,
    cut: new Set(standingOnApart(ours, strangers).keys()),
    check: sound.filter(manifest => check.has(manifest)),
    lost: entries.flatMap(entry => (entry.status === 'damaged' && named(entry) ? [entry] : [])),
    targets: whole ? ours.slice(-1) : chosen.filter(({ id }) => own.has(id)),
    problems: whole ? await ownFiles(room, isClaimed, ours) : [],
    hasWal: whole && hasWal,
    wanted,
  }
}

function assertAgreed(claim: Claim | undefined, ours: readonly Manifest[]): Claim | undefined {
  const newest = claim && contradicting(claim, ours)
  if (claim === undefined || newest === undefined) return claim
  const message = `it says that the name belongs to ${describeClaim(claim)}, and ${newest.id}, the newest backup that is ours, is of kind ${newest.kind} and of host ${quoted(newest.host)}: it was changed, or create --adopt has made no backup yet that is ours`
  throw new NexusError('damage', 'claim_forged', message)
}

/** A chain that is cut off is checked as far as it goes; the cut itself is found when its child is checked. */
function withAncestors(manifest: Manifest, manifests: ReadonlyMap<string, Manifest>): Manifest[] {
  try {
    return chainOf(manifest, manifests)
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'damage') return [manifest]
    throw error
  }
}

/**
 * The claim carries a digest of its own, which anybody can make: the newest signed backup must agree with it. What prune
 * notes of WAL must at least be readable.
 */
async function ownFiles(
  room: SourceRoom,
  isClaimed: boolean,
  ours: readonly Manifest[],
): Promise<VerifyPlan['problems']> {
  const problems: VerifyPlan['problems'] = []
  const checks: [string, () => Promise<unknown>][] = [
    ['source.json', async () => assertAgreed(await room.claim(), ours)],
    ['.wal-kept-from.json', () => readWalKeptFrom(room)],
  ]
  for (const [part, check] of checks) {
    try {
      if ((await check()) === undefined && isClaimed) problems.push({ part, problem: 'is missing' })
    } catch (error) {
      if (!(error instanceof NexusError) || error.kind !== 'damage') throw error
      problems.push({ part, problem: messageOf(error) })
    }
  }
  return problems
}
