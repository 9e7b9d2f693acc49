import { nearest } from '../../config/nearest.js'
import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import { recorded } from '../../journal/recorded.js'
import type { Journal } from '../../journal/types.js'
import type { Decision, RetentionPlan } from '../../policy/retention.js'
import { openRepository } from '../../repository/open.js'
import { symlinkFault } from '../../repository/storage/faults.js'
import type { Repository, SourceRoom } from '../../repository/types.js'
import { changeKnown } from '../known-backups.js'
import { lockOptions, withLocks } from '../locked.js'
import type { PruneSource } from '../requests.js'
import type { ListedProblem, PrunedWal } from '../results.js'
import type { ApartBackup } from '../trust/judged.js'
import { tidyProofs } from '../trust/proofs.js'
import { PruneNotes } from './note-pruned.js'
import { type PrunePlan, readPlan, removePlan, writePlan } from './prune-plan.js'
import { planPrune } from './prune-survey.js'
import { describeWal, noteWal, removeWal } from './prune-wal.js'
import type { SystemWalPlan } from './prune-wal-plan.js'
import { assertOwn } from './pruned-claim.js'

/** What prune did, or would do, to one source. */
export interface SourceOutcome {
  keep: Decision[]
  /** Only what is gone, or, in a dry run, would be. */
  deleted: Decision[]
  /** Freed, or, in a dry run, to be freed. */
  bytes: number
  wal: PrunedWal[]
  problems: ListedProblem[]
  apart: ApartBackup[]
  /** Why it stopped before the end. */
  failure: unknown
}

const nothing: SourceOutcome = { keep: [], deleted: [], bytes: 0, wal: [], problems: [], apart: [], failure: undefined }

/** The plan of one source, without taking a lock or changing anything. */
export async function planSource(context: Context, source: PruneSource): Promise<SourceOutcome> {
  const room = await roomOf(context, await openRepository(source.repository), source.name)
  if (room === undefined) return nothing
  await assertOwn(context, room, source)
  const { plan, wal, bytes, problems, apart } = await planPrune(context, room, source, { cached: true })
  const described = await describeWal(room, wal)
  const all = described.reduce((sum, system) => sum + system.delete.bytes, bytes)
  return { ...nothing, keep: plan.keep, deleted: plan.delete, bytes: all, wal: described, problems, apart }
}

/**
 * Plans and carries out, under the writer lock, and the delete lock when there is something to delete.
 *
 * A prune that was interrupted is finished by planning again: what it had to delete and the present policy keeps
 * stays, for whoever stopped a prune to change the policy means the new one (promise 1, never destroy).
 */
export async function pruneSource(context: Context, journal: Journal, source: PruneSource): Promise<SourceOutcome> {
  const repository = await openRepository(source.repository)
  const room = await roomOf(context, repository, source.name)
  if (room === undefined) return nothing
  await assertOwn(context, room, source)
  const options = lockOptions(context, `prune ${source.name}`)
  const entry = { operation: 'prune', source: source.name, repository: repository.location }
  const work = () =>
    withLocks(room, [['writer', 'exclusive']], options, async take => {
      const [interrupted] = await Promise.all([readPlan(room), room.removeLeftovers()])
      const { plan, wal, problems, apart, manifests } = await planPrune(context, room, source, { cached: true })
      if (interrupted !== undefined) context.warn(resumption(source.name, interrupted, plan))
      if (plan.delete.length === 0 && wal.every(system => system.delete.length === 0)) {
        await noteWal(context, room, wal)
        await removePlan(room)
        await tidyProofs(context, room, manifests)
        return { ...nothing, keep: plan.keep, wal: await describeWal(room, wal), problems, apart }
      }
      await take('delete', 'exclusive')
      return carryOut(context, room, source)
    })
  return recorded(context, journal, entry, work, journalOutcome)
}

/**
 * Plans once more, now that nobody reads or verifies: a verify may have found damage while we waited. Backups go first,
 * then the WAL that none of the others needs: a stop in between leaves WAL too much, never a base without its WAL.
 */
async function carryOut(context: Context, room: SourceRoom, source: PruneSource): Promise<SourceOutcome> {
  const { plan, wal, problems, apart, manifests } = await planPrune(context, room, source)
  await noteDown(context, room, plan, wal)
  const notes = await PruneNotes.begin(
    context,
    room,
    plan.delete.map(({ id }) => id),
  )
  const outcome: SourceOutcome = { ...nothing, keep: plan.keep, deleted: [], problems, apart }
  const noted = () => notes?.write(outcome.deleted.map(({ id }) => id))
  for (const decision of plan.delete) {
    context.signal.throwIfAborted()
    try {
      outcome.bytes += await room.remove(decision.id)
    } catch (failure) {
      await noted()
      return { ...outcome, failure: stopped(room, decision, outcome.deleted.length, plan, failure) }
    }
    outcome.deleted.push(decision)
    await forget(context, room, decision.id)
    context.progress({
      phase: `${room.name}: deleting`,
      done: outcome.deleted.length,
      total: plan.delete.length,
      unit: 'items',
    })
  }
  await noted()
  const isNoted = await noteWal(context, room, wal)
  const { pruned, failure } = await removeWal(context, room, wal)
  if (!isNoted) await noteWal(context, room, wal)
  outcome.bytes += pruned.reduce((sum, system) => sum + system.delete.bytes, 0)
  if (failure === undefined) await removePlan(room)
  await tidyProofs(context, room, manifests)
  await room.summarize({ pruned: true })
  return { ...outcome, wal: pruned, failure }
}

/** This host knows that the backup is gone. */
async function forget(context: Context, { repository, name }: SourceRoom, id: string): Promise<void> {
  await changeKnown(context, repository.id, name, ({ [id]: _gone, ...known }) => known)
}

/** A disk without room for the plan is the very one that pruning must be able to free: then it goes without. */
async function noteDown(
  context: Context,
  room: SourceRoom,
  plan: RetentionPlan,
  wal: readonly SystemWalPlan[],
): Promise<void> {
  try {
    await writePlan(context, room, plan.delete, wal)
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'repository_full') throw error
  }
}

/** A link in a source's place must not pass for a source that has no backups. */
async function assertNoLink({ storage }: Repository, name: string): Promise<void> {
  const found = (await storage.list('')).find(entry => entry.name === name)
  if (found?.kind === 'other') throw symlinkFault(`${storage.location}/${name}`)
}

/** The source's room, or undefined where it has none: nothing to prune. A name that looks mistyped is mentioned. */
async function roomOf(context: Context, repository: Repository, name: string): Promise<SourceRoom | undefined> {
  const names = await repository.sources()
  if (names.includes(name)) return repository.source(name)
  await assertNoLink(repository, name)
  const meant = nearest(name, names)
  if (meant !== undefined) context.warn(`${repository.location} holds no backups of ${name}; did you mean ${meant}?`)
  return undefined
}

function resumption(name: string, interrupted: PrunePlan, plan: RetentionPlan): string {
  const planned = new Set(interrupted.delete.map(({ id }) => id))
  const spared = plan.keep.filter(({ id }) => planned.has(id)).map(({ id }) => id)
  const sparing = spared.length === 0 ? '' : `; the present policy keeps what it was to delete: ${spared.join(', ')}`
  return `finishing the prune of ${name} that was interrupted (begun ${interrupted.begun_at})${sparing}`
}

function stopped(room: SourceRoom, { id }: Decision, done: number, plan: RetentionPlan, cause: unknown): unknown {
  if (!(cause instanceof NexusError)) return cause
  const message = `prune of ${room.name} stopped at ${id} after ${done} of ${plan.delete.length} deletions: ${cause.message}`
  const hint = cause.hint ?? `run it again, it goes on where it stopped: nexus-backup prune ${room.name}`
  return new NexusError(cause.kind, cause.code, message, { hint, cause })
}

function journalOutcome({ failure, problems }: SourceOutcome): { result: string; error: string | null } {
  if (failure !== undefined) {
    return { result: failure instanceof NexusError ? failure.kind : 'failed', error: messageOf(failure) }
  }
  return { result: problems.length > 0 ? 'damage' : 'done', error: null }
}
