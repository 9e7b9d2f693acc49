import { existsSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import type { SourceSettings } from '../config/settings.js'
import type { Context } from '../context.js'
import { messageOf, NexusError } from '../errors.js'
import { recorded } from '../journal/recorded.js'
import type { Journal } from '../journal/types.js'
import { checkRestored } from '../sources/sqlite/check-restored.js'
import { dropEmptySidecars, existingSidecars } from '../sources/sqlite/swap.js'
import { trustedPath } from '../system/trusted-path.js'
import { finishInterruptedDatabaseRestore } from './databases/interrupted-restore.js'
import { putInPlace } from './databases/put-in-place.js'
import { databaseOf } from './databases/restore-database.js'
import type { RestorePlan, RollbackRequest } from './requests.js'
import type { RestoreResult } from './results.js'
import { lastPrevious, previousName } from './set-aside.js'
import { directoryOf } from './trees/restore-cluster-in-place.js'
import { planTreeRollback, rollBackTrees } from './trees/tree-rollback.js'

/**
 * What `restore SOURCE --rollback` would do: bring back what the last restore of this database replaced.
 *
 * @throws NexusError `not-found` when nothing was set aside
 */
export async function planRollback(context: Context, request: RollbackRequest): Promise<RestorePlan> {
  const trees = treesOf(request.source)
  if (trees !== null) return planTreeRollback(context, request, trees)
  const source = databaseOf(request.source)
  const target = trustedPath(source.path)
  const aside = lastSetAside(source, target)
  const replaces = existsSync(target)
  return {
    id: basename(aside),
    source: source.name,
    captured_at: statSync(aside).mtime.toISOString(),
    chain: [],
    target,
    in_place: true,
    replaces,
    previous: replaces ? previousName(target, context.now()) : null,
    service: source.service,
    bytes: statSync(aside).size,
  }
}

/** Brings back exactly what the last restore replaced; what stood there meanwhile is set aside in turn. */
export async function rollback(context: Context, journal: Journal, request: RollbackRequest): Promise<RestoreResult> {
  const { source } = request
  const subject = { operation: 'rollback', source: source.name, repository: source.repository.path }
  return recorded(context, journal, subject, () => carryOut(context, request))
}

async function carryOut(context: Context, request: RollbackRequest): Promise<RestoreResult> {
  const trees = treesOf(request.source)
  if (trees !== null) return rollBackTrees(context, request, trees)
  const source = databaseOf(request.source)
  const began = context.now()
  if ((await finishInterruptedDatabaseRestore(context, source)) === 'undone') throw nothingReplaced(source)
  const target = trustedPath(source.path)
  const aside = lastSetAside(source, target)
  const found = dropEmptySidecars(aside) ? [] : existingSidecars(aside)
  const sidecars = found.map(from => ({ from, to: target + from.slice(aside.length) }))
  let checks: RestoreResult['checks'] = []
  const placement = {
    source: source.name,
    target,
    staged: aside,
    scratch: false,
    sidecars,
    previous: request.previous ?? previousName(target, began),
    service: source.service,
  }
  const previous = await putInPlace(context, placement, async () => {
    // With sidecars it was too damaged to be opened: opening it now would change what is to come back as it was.
    checks = sidecars.length > 0 ? [] : await tell(aside, context.signal)
  })
  return {
    command: 'restore',
    id: null,
    target,
    captured_at: null,
    previous,
    undo: previous === null ? null : `nexus-backup restore ${source.name} --rollback --confirm ${source.name}`,
    checks,
    duration_ms: Math.max(0, context.now().getTime() - began.getTime()),
  }
}

/** What the source's directories are called; null for a database. */
function treesOf(source: SourceSettings): readonly string[] | null {
  if (source.kind === 'sqlite') return null
  return source.kind === 'files' ? source.paths : [directoryOf(source)]
}

/** Says how it is; a rollback brings it back all the same. */
async function tell(path: string, signal: AbortSignal): Promise<RestoreResult['checks']> {
  try {
    return await checkRestored(path, { checks: [] }, signal)
  } catch (error) {
    return [{ name: 'integrity_check', status: 'failed', detail: messageOf(error) }]
  }
}

function lastSetAside(source: SourceSettings, target: string): string {
  const last = lastPrevious(target)
  if (last !== undefined) return last
  throw new NexusError('not-found', 'nothing_to_roll_back', `no restore of ${source.name} has set anything aside`, {
    hint: `a backup can be restored instead: nexus-backup list ${source.name}`,
  })
}

/** Going on would bring back what the restore before that one replaced, which nobody asked for. */
function nothingReplaced({ name }: SourceSettings): NexusError {
  return new NexusError(
    'refused',
    'restore_was_undone',
    `the last restore of ${name} was killed before it replaced anything, so there is nothing of it to roll back`,
    { hint: 'to bring back what the restore before that one replaced, run it again' },
  )
}
