import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { planRetention, type RetentionPlan } from '../../policy/retention.js'
import type { Manifest } from '../../repository/manifest.js'
import { mapParallel } from '../../repository/parallel.js'
import type { SourceRoom } from '../../repository/types.js'
import type { PruneSource } from '../requests.js'
import type { ListedProblem } from '../results.js'
import { walReader } from '../sealing/wal-seal-for.js'
import { passedOver } from '../select.js'
import { type Looking, type Survey, survey } from '../survey.js'
import type { ApartBackup } from '../trust/judged.js'
import { warnOnce } from '../trust/warn-once.js'
import { surveyWal } from '../wal/wal-survey.js'
import { pitrWindow, planWal, type SystemWalPlan } from './prune-wal-plan.js'
import { assertMadeHere } from './pruned-claim.js'

/** What prune is to do with one source. */
export interface SourcePlan {
  plan: RetentionPlan
  wal: SystemWalPlan[]
  /** What the backups that go have stored. */
  bytes: number
  /** Every backup that is ours, also those that go. */
  manifests: Manifest[]
  /** Damage that it leaves alone. */
  problems: ListedProblem[]
  /** Backups that are not ours: none takes a place of ours, and none is deleted. */
  apart: ApartBackup[]
}

/**
 * Plans the prune of a source from what is there now: backups by their rules, then WAL by the backups that stay.
 *
 * A proof that cannot be read may have said that its backup is damaged, or that it is proven. Such a backup stays, is not
 * proven and takes no other's place, and no WAL goes: so nothing is deleted that would stay if the proof could be read.
 *
 * @param looking what is read to plan; before anything is deleted, everything
 */
export async function planPrune(
  context: Context,
  room: SourceRoom,
  source: PruneSource,
  looking: Looking = {},
): Promise<SourcePlan> {
  const now = context.now()
  const found = await survey(room, context, looking)
  const { manifests, unsound, problems, doubtful } = found
  assertMadeHere(context, room, source, manifests)
  const damaged = new Set([...found.damaged, ...doubtful])
  const proven = new Set([...found.proven].filter(id => !doubtful.has(id)))
  if (found.apart.length > 0) warnOnce(context, `${room.name}: ${passedOver(found.apart)}`)
  const archived = await surveyWal(room, found, walReader(context, room.repository))
  const { since, pinned: window } = pitrWindow(archived, source.keep, now)
  const pinned = new Map([...neededByApart(found), ...window])
  const { timezone } = context
  const policy = source.keep
  const wanted = planRetention({ backups: manifests, damaged, unsound, proven, pinned, policy, timezone, now })
  const plan = withoutLocked(wanted, await room.lockedUntil(wanted.delete.map(({ id }) => id)))
  const kept = new Set(plan.keep.map(({ id }) => id))
  const deleted = new Set(plan.delete.map(({ id }) => id))
  const going = manifests.filter(({ id }) => deleted.has(id))
  const claimed = archived.systems.length > 0 ? await claimedSystem(room) : undefined
  return {
    plan,
    wal: keptFor(doubtful, await mapParallel(planWal(archived, kept, since, claimed), 1, withoutLockedFiles)),
    bytes: going.reduce((sum, { bytes_stored }) => sum + bytes_stored, 0),
    problems: problems.filter(({ status }) => status === 'damaged'),
    apart: found.apart,
    manifests,
  }
}

/**
 * What a backup that is not ours stands on stays: it may be of a host that is let in tomorrow, and one that nobody knows takes
 * no more than the room it keeps.
 */
function neededByApart({ apart }: Survey): [string, string][] {
  return apart.flatMap(({ member: { id, parent } }) => {
    return parent === null ? [] : [[parent, `may be needed by ${id}, which is not ours`] as [string, string]]
  })
}

/** Nobody knows which of these backups the WAL must reach back to. */
function keptFor(doubtful: ReadonlySet<string>, plans: SystemWalPlan[]): SystemWalPlan[] {
  const [first] = doubtful
  if (first === undefined) return plans
  const reason = `kept as it is: a proof of ${first} cannot be read`
  return plans.map(plan =>
    plan.delete.length === 0 ? plan : { ...plan, delete: [], reasons: [...plan.reasons, reason] },
  )
}

/** What the store lets nobody remove stays until it does: no error, and said with its date. */
function withoutLocked(plan: RetentionPlan, locked: ReadonlyMap<string, Date>): RetentionPlan {
  if (locked.size === 0) return plan
  const staying = plan.delete.flatMap(({ id }) => {
    const until = locked.get(id)
    return until === undefined ? [] : [{ id, reasons: [`locked by the store until ${until.toISOString()}`] }]
  })
  return { keep: [...plan.keep, ...staying], delete: plan.delete.filter(({ id }) => !locked.has(id)) }
}

/** The same of the log, of which older files are locked longer than `keep.pitr` wants them. */
async function withoutLockedFiles(plan: SystemWalPlan): Promise<SystemWalPlan> {
  const locked = await plan.system.archive.lockedUntil(plan.delete.map(({ name }) => name))
  if (locked.size === 0) return plan
  const last = new Date([...locked.values()].reduce((latest, until) => Math.max(latest, until.getTime()), 0))
  const reason = `locked by the store until ${last.toISOString()}: ${locked.size} files that would go otherwise`
  return { ...plan, delete: plan.delete.filter(({ name }) => !locked.has(name)), reasons: [...plan.reasons, reason] }
}

/** The system that the source belongs to now; a claim that cannot be read tells nothing. */
async function claimedSystem(room: SourceRoom): Promise<string | undefined> {
  try {
    return (await room.claim())?.system_identifier ?? undefined
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'damage') return undefined
    throw error
  }
}
