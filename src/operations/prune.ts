import type { Context } from '../context.js'
import { messageOf } from '../errors.js'
import type { Journal } from '../journal/types.js'
import { type Decision, emptyPolicy } from '../policy/retention.js'
import { isEmptyPolicy } from '../policy/rules.js'
import { failureOf } from './failure.js'
import { planSource, pruneSource, type SourceOutcome } from './prune/prune-source.js'
import type { PruneRequest } from './requests.js'
import type { PruneDecision, PruneResult } from './results.js'
import type { ApartBackup } from './trust/judged.js'

/**
 * Retires the backups that no rule of each source's policy keeps; with `dryRun` only says which.
 * One source that fails does not stop the others; when nothing at all was done, the first failure is thrown.
 * A prune that is killed, or aborted by `context.signal`, is finished by the next.
 * @throws NexusError refused `empty_policy` before anything is deleted, when a policy keeps nothing
 */
export async function prune(context: Context, journal: Journal, request: PruneRequest): Promise<PruneResult> {
  const empty = request.sources.filter(({ keep }) => isEmptyPolicy(keep))
  if (empty.length > 0) {
    const hasPitr = empty.every(({ keep }) => (keep.pitr ?? 0) > 0)
    throw emptyPolicy(
      empty.map(({ name }) => name),
      hasPitr,
    )
  }
  const outcomes: { name: string; repository: string; outcome: SourceOutcome }[] = []
  const failures: { name: string; error: unknown }[] = []
  for (const source of request.sources) {
    context.signal.throwIfAborted()
    try {
      const outcome = request.dryRun ? await planSource(context, source) : await pruneSource(context, journal, source)
      if (outcome.failure !== undefined) failures.push({ name: source.name, error: outcome.failure })
      outcomes.push({ name: source.name, repository: source.repository.path, outcome })
    } catch (error) {
      if (context.signal.aborted) throw error
      failures.push({ name: source.name, error })
    }
  }
  const [first] = failures
  const isAnythingDone = outcomes.some(({ outcome }) => outcome.failure === undefined || hasDeleted(outcome))
  if (first !== undefined && !isAnythingDone) {
    for (const { error } of failures.slice(1)) context.warn(messageOf(error))
    throw first.error
  }
  const bytes = outcomes.reduce((sum, { outcome }) => sum + outcome.bytes, 0)
  return {
    command: 'prune',
    dry_run: request.dryRun,
    keep: outcomes.flatMap(one => one.outcome.keep.map(decided(one))),
    delete: outcomes.flatMap(one => one.outcome.deleted.map(decided(one))),
    wal: outcomes.flatMap(({ outcome }) => outcome.wal),
    bytes_freed: request.dryRun ? 0 : bytes,
    ...(request.dryRun ? { bytes_to_free: bytes } : {}),
    untrusted: outcomes.flatMap(one => one.outcome.apart.map(untrusted(one))),
    problems: outcomes.flatMap(({ outcome }) => outcome.problems),
    failures: failures.map(({ name, error }) => failureOf(name, error)),
  }
}

function decided({ name: source, repository }: { name: string; repository: string }) {
  return (decision: Decision): PruneDecision => ({ ...decision, source, repository })
}

function untrusted({ name: source, repository }: { name: string; repository: string }) {
  return ({ member: { id }, trust, problem }: ApartBackup) => {
    return { id, source, repository, reasons: [`left alone: it ${problem}`], trust, problem }
  }
}

function hasDeleted({ deleted, wal }: SourceOutcome): boolean {
  return deleted.length > 0 || wal.some(system => system.delete.segments > 0)
}
