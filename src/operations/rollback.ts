import { closeSync, existsSync, openSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import type { Context } from '../context.js'
import { NexusError } from '../errors.js'
import { recorded } from '../journal/recorded.js'
import type { Journal } from '../journal/types.js'
import { checkRestored } from '../sources/sqlite/check-restored.js'
import { readHeader } from '../sources/sqlite/header.js'
import { assertOnlyName } from '../sources/sqlite/other-names.js'
import { readRecord } from '../sources/sqlite/restore-record.js'
import { dropEmptySidecars, existingSidecars } from '../sources/sqlite/swap.js'
import { trustedPath } from '../system/trusted-path.js'
import { finishInterruptedDatabaseRestore } from './databases/interrupted-restore.js'
import { putInPlace } from './databases/put-in-place.js'
import type { RestorePlan, RollbackRequest } from './requests.js'
import type { RestoreResult } from './results.js'
import { lastPrevious, previousName } from './set-aside.js'
import { shellQuoted } from './shell.js'
import { isMergedLast, type MergeRollback, planMergeRollback, rollBackMerge } from './trees/merge-rollback.js'
import { directoryOf } from './trees/restore-cluster-in-place.js'
import { planTreeRollback, rollBackTrees, type TreeRollback } from './trees/tree-rollback.js'

/** What a rollback is about: one database, directories that were replaced together, or what was merged into a directory. */
type Subject =
  | { kind: 'database'; name: string; path: string; service: string | null; allowOtherNames: boolean; undo: string }
  | { kind: 'trees'; tree: TreeRollback; paths: readonly string[] }
  | { kind: 'merge'; merge: MergeRollback }

/**
 * What `restore SOURCE --rollback [--to PATH]` would do: bring back what the last restore replaced there.
 *
 * @throws NexusError `not-found` when nothing was set aside
 */
export async function planRollback(context: Context, request: RollbackRequest): Promise<RestorePlan> {
  const subject = subjectOf(request)
  if (subject.kind === 'merge') return planMergeRollback(context, subject.merge)
  if (subject.kind === 'trees') return planTreeRollback(context, subject.tree, subject.paths)
  const target = trustedPath(subject.path)
  const aside = lastSetAside(subject.name, target)
  const replaces = existsSync(target)
  if (replaces && readRecord(target) === null) {
    assertOnlyName(target, { allowed: subject.allowOtherNames, warn: () => {} })
  }
  return {
    id: basename(aside),
    source: subject.name,
    captured_at: statSync(aside).mtime.toISOString(),
    chain: [],
    target,
    in_place: request.source.kind !== 'path',
    replaces,
    previous: replaces ? previousName(target, context.now()) : null,
    service: subject.service,
    bytes: statSync(aside).size,
  }
}

/** Brings back exactly what the last restore replaced; what stood there meanwhile is set aside in turn. */
export async function rollback(context: Context, journal: Journal, request: RollbackRequest): Promise<RestoreResult> {
  const { source } = request
  const repository = source.kind === 'path' ? source.repository : source.repository.path
  const entry = { operation: 'rollback', source: source.name, repository }
  return recorded(context, journal, entry, () => carryOut(context, request))
}

async function carryOut(context: Context, request: RollbackRequest): Promise<RestoreResult> {
  const subject = subjectOf(request)
  if (subject.kind === 'merge') return rollBackMerge(context, subject.merge)
  if (subject.kind === 'trees') return rollBackTrees(context, subject.tree, subject.paths)
  const began = context.now()
  if ((await finishInterruptedDatabaseRestore(context, subject)) === 'undone') throw nothingReplaced(subject.name)
  const target = trustedPath(subject.path)
  const aside = lastSetAside(subject.name, target)
  const found = dropEmptySidecars(aside) ? [] : existingSidecars(aside)
  const sidecars = found.map(from => ({ from, to: target + from.slice(aside.length) }))
  let checks: RestoreResult['checks'] = []
  const problems: string[] = []
  const placement = {
    problems,
    source: subject.name,
    target,
    staged: aside,
    scratch: false,
    sidecars,
    previous: request.previous ?? previousName(target, began),
    service: subject.service,
    allowOtherNames: subject.allowOtherNames,
  }
  const previous = await putInPlace(context, placement, async () => {
    // With sidecars it was too damaged to be opened: opening it now would change what is to come back as it was.
    checks = sidecars.length > 0 || !isDatabase(aside) ? [] : await tell(aside, context.signal)
  })
  return {
    command: 'restore',
    id: null,
    target,
    captured_at: null,
    previous,
    undo: previous === null ? null : subject.undo,
    checks,
    ...(problems.length === 0 ? {} : { problems }),
    duration_ms: Math.max(0, context.now().getTime() - began.getTime()),
  }
}

/** @throws NexusError `refused` when the configuration lacks what must be known */
function subjectOf({ source, previous, allowOtherNames }: RollbackRequest): Subject {
  const { name } = source
  if (source.kind === 'path') {
    const { path } = source
    const undo = `nexus-backup restore ${name} --rollback --to ${shellQuoted(path)}`
    if (isMergedLast(path)) return { kind: 'merge', merge: { source: name, path, previous } }
    if (holdsDirectories(path)) {
      return { kind: 'trees', tree: { source: { name, service: null, undo }, previous }, paths: [path] }
    }
    return { kind: 'database', name, path, service: null, allowOtherNames: allowOtherNames === true, undo }
  }
  const { service } = source
  if (source.kind !== 'sqlite') {
    const paths = source.kind === 'files' ? source.paths : [directoryOf(source)]
    return { kind: 'trees', tree: { source: { name, service }, previous }, paths }
  }
  const undo = `nexus-backup restore ${name} --rollback --confirm ${name}`
  const allowed = allowOtherNames === true || source.allowOtherNames === true
  return { kind: 'database', name, path: source.path, service, allowOtherNames: allowed, undo }
}

/** Whether a directory stands at a path or was set aside there; a database is a file both times. */
function holdsDirectories(path: string): boolean {
  const target = trustedPath(path)
  return [target, lastPrevious(target)].some(
    name => name !== undefined && existsSync(name) && statSync(name).isDirectory(),
  )
}

/** Whatever `--force` replaced need not have been a database; then there is nothing to check. */
function isDatabase(path: string): boolean {
  const fd = openSync(path, 'r')
  try {
    readHeader(fd, path)
    return true
  } catch (error) {
    if (error instanceof NexusError && error.code === 'not_a_database') return false
    throw error
  } finally {
    closeSync(fd)
  }
}

/** Says how it is; a rollback brings it back all the same. */
async function tell(path: string, signal: AbortSignal): Promise<RestoreResult['checks']> {
  return checkRestored(path, { checks: [] }, signal)
}

function lastSetAside(name: string, target: string): string {
  const last = lastPrevious(target)
  if (last !== undefined) return last
  throw new NexusError(
    'not-found',
    'nothing_to_roll_back',
    `no restore of ${name} has set anything aside at ${target}`,
    {
      hint: `a backup can be restored instead: nexus-backup list ${name}`,
    },
  )
}

/** Going on would bring back what the restore before that one replaced, which nobody asked for. */
function nothingReplaced(name: string): NexusError {
  return new NexusError(
    'refused',
    'restore_was_undone',
    `the last restore of ${name} was killed before it replaced anything, so there is nothing of it to roll back`,
    { hint: 'to bring back what the restore before that one replaced, run it again' },
  )
}
