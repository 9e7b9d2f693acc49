import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import type { WalFile } from '../../policy/wal-retention.js'
import { mapParallel } from '../../repository/parallel.js'
import type { SourceRoom } from '../../repository/types.js'
import type { WalArchive } from '../../repository/wal/types.js'
import type { PrunedWal } from '../results.js'
import { noteWalKeptFrom } from '../wal/wal-kept-from.js'
import { isSegment } from '../wal/wal-survey.js'
import type { SystemWalPlan } from './prune-wal-plan.js'

/** Files removed between two looks at the signal. */
const REMOVED_AT_ONCE = 64
/** Files looked at side by side. */
const LOOKERS = 16

/** What prune did with WAL, and why it stopped before the end. */
export interface WalOutcome {
  pruned: PrunedWal[]
  failure: unknown
}

/** The plans as prune reports them, with the bytes that the files take now. */
export async function describeWal(room: SourceRoom, plans: readonly SystemWalPlan[]): Promise<PrunedWal[]> {
  const described: PrunedWal[] = []
  for (const plan of plans) {
    const sizes = await mapParallel(plan.delete, LOOKERS, ({ name }) => bytesOf(plan.system.archive, name))
    const bytes = sizes.reduce((sum, size) => sum + size, 0)
    described.push(pruned(room, plan, plan.delete, bytes))
  }
  return described
}

/**
 * Writes down from where on WAL is kept, then removes what lies before, oldest first. The caller holds the locks, and
 * has removed the backups that go.
 */
export async function removeWal(
  context: Context,
  room: SourceRoom,
  plans: readonly SystemWalPlan[],
): Promise<WalOutcome> {
  const outcome: WalOutcome = { pruned: [], failure: undefined }
  const total = plans.reduce((sum, plan) => sum + plan.delete.length, 0)
  let done = 0
  for (const plan of plans) {
    const removed: WalFile[] = []
    let bytes = 0
    try {
      for (let from = 0; from < plan.delete.length; from += REMOVED_AT_ONCE) {
        context.signal.throwIfAborted()
        const files = plan.delete.slice(from, from + REMOVED_AT_ONCE)
        bytes += await plan.system.archive.remove(files.map(({ name }) => name))
        removed.push(...files)
        done += files.length
        context.progress({ phase: `${room.name}: deleting WAL`, done, total, unit: 'items' })
      }
    } catch (error) {
      if (context.signal.aborted) throw error
      outcome.failure = stopped(room, plan, removed.length, error)
    }
    outcome.pruned.push(pruned(room, plan, removed, bytes))
    if (outcome.failure !== undefined) break
  }
  return outcome
}

/**
 * Writes down from where on the WAL of each system is kept, so that verify can tell what went from what was lost.
 * @returns false when the disk has no room for it: then it is to be tried again once something was removed
 */
export async function noteWal(context: Context, room: SourceRoom, plans: readonly SystemWalPlan[]): Promise<boolean> {
  try {
    for (const { system, keepFrom } of plans) {
      if (keepFrom !== null) await noteWalKeptFrom(room, system.system, keepFrom.start, context.now())
    }
    return true
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'repository_full') throw error
    return false
  }
}

/** Another prune may be at work beside a dry run. */
async function bytesOf(archive: WalArchive, name: string): Promise<number> {
  try {
    return await archive.storedBytes(name)
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'not-found') return 0
    throw error
  }
}

function pruned(room: SourceRoom, plan: SystemWalPlan, files: readonly WalFile[], bytes: number): PrunedWal {
  const segments = files.map(({ name }) => name).filter(isSegment)
  return {
    source: room.name,
    system_identifier: plan.system.system,
    keep_from: plan.keepFromSegment,
    delete: { segments: segments.length, bytes, from: segments.at(0) ?? null, to: segments.at(-1) ?? null },
    reasons: plan.reasons,
  }
}

function stopped(room: SourceRoom, plan: SystemWalPlan, done: number, cause: unknown): unknown {
  if (!(cause instanceof NexusError)) return cause
  const message = `prune of ${room.name} stopped after ${done} of ${plan.delete.length} WAL files of system ${plan.system.system}: ${messageOf(cause)}`
  const hint = cause.hint ?? `run it again, it goes on where it stopped: nexus-backup prune ${room.name}`
  return new NexusError(cause.kind, cause.code, message, { hint, cause })
}
