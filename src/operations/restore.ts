import type { Context } from '../context.js'
import { NexusError } from '../errors.js'
import { recorded } from '../journal/recorded.js'
import type { Journal } from '../journal/types.js'
import { planDatabaseRestore, restoreDatabase } from './databases/restore-database.js'
import { drillNotes } from './drill-notes.js'
import { lockOptions, withLocks } from './locked.js'
import { unlessPruned } from './pruned.js'
import type { RestorePlan, RestoreRequest } from './requests.js'
import type { RestoreResult } from './results.js'
import { openSelected } from './sealing/open-backup.js'
import { reselect, type Selected, selectBackup } from './select.js'
import { previewPart } from './trees/chosen-part.js'
import { planTreeRestore, restoreTreeBackup } from './trees/restore-tree-backup.js'

/**
 * What a restore would do: printed before it is done, and all there is with `--dry-run`.
 *
 * @throws NexusError for everything that can be refused before any byte is written
 */
export async function planRestore(context: Context, request: RestoreRequest): Promise<RestorePlan> {
  const selected = await selectOpened(context, request)
  if (request.dryRun) warnOf(context, selected)
  const plan = await planOf(context, request, selected)
  for (const notice of incompleteNotices(request, selected)) context.warn(`${plan.source}: ${notice}`)
  if (request.part !== undefined) {
    const part = await previewPart(context, selected, request.part)
    Object.assign(plan, { bytes: part.bytes, part })
  }
  selections.set(plan, selected)
  return plan
}

/** What plans were made for. */
const selections = new WeakMap<RestorePlan, Selected>()

/**
 * Restores a backup: staged beside the target, proven, then swapped in; what it replaces is kept.
 *
 * @throws NexusError `refused` for a target that exists or is in use, `damage` when the backup or what was restored is
 *   damaged; the target is then as it was
 */
export async function restore(context: Context, journal: Journal, request: RestoreRequest): Promise<RestoreResult> {
  const began = context.now()
  const chosen = request.plan === undefined ? undefined : selections.get(request.plan)
  const found = chosen ?? (await selectOpened(context, request))
  const plan = await planOf(context, request, found)
  warnOf(context, found)
  const subject = { operation: 'restore', source: plan.source, repository: found.room.repository.location }
  return recorded(
    context,
    journal,
    subject,
    () =>
      withLocks(found.room, [['delete', 'shared']], lockOptions(context, `restore ${plan.source}`), async () => {
        const selected = await openSelected(context, await reselect(context, found))
        const work = { plan, selected, began }
        return unlessPruned(found.room, plan.chain, () =>
          selected.manifest.kind === 'sqlite'
            ? restoreDatabase(context, request, work)
            : restoreTreeBackup(context, request, work),
        )
      }),
    ({ id, checks }) => ({ result: checks.some(({ status }) => status === 'failed') ? 'damage' : 'done', backup: id }),
  )
}

/** @throws NexusError `usage` (`option_of_files`, `options_exclude`) */
function assertPartPossible({ part, merge, target }: RestoreRequest, { manifest: { id, kind } }: Selected): void {
  if (part === undefined && merge === undefined) return
  if (kind !== 'files') {
    const what = kind === 'sqlite' ? 'a database' : 'a cluster'
    throw new NexusError('usage', 'option_of_files', `parts and merges are of files, and ${id} is ${what}`, {
      hint: `restore all of it: nexus-backup restore ${id} --to PATH`,
    })
  }
  if (target.kind === 'in-place') throw partInPlace(id)
}

/** What is restored in place takes the place of everything that stands there. */
function partInPlace(id: string): NexusError {
  return new NexusError('usage', 'options_exclude', '--in-place replaces all of a source, and takes no --include', {
    hint: `restore the part beside: nexus-backup restore ${id} --include PATTERN --to DIR`,
  })
}

/** So many of a backup's own warnings are repeated when it is restored. */
const REPEATED = 3

/** What the operator must know of backups in which something is missing. */
function incompleteNotices(request: RestoreRequest, { manifest, survey }: Selected): string[] {
  const { id, source, incomplete, warnings } = manifest
  if (incomplete === true) {
    const told = warnings.slice(0, REPEATED).join('; ')
    const more = warnings.length > REPEATED ? `; and ${warnings.length - REPEATED} more warnings` : ''
    return [`${id} is incomplete: ${told}${more}`]
  }
  if (request.backup !== source) return []
  const later = survey.manifests.findLast(
    other =>
      other.sequence > manifest.sequence &&
      other.incomplete === true &&
      (request.at === undefined || Date.parse(other.captured_at) <= request.at.getTime()),
  )
  return later === undefined ? [] : [`${later.id} is newer but incomplete; ${id} is the last complete backup`]
}

/** A key that does not fit is told before anything is done. */
async function selectOpened(context: Context, request: RestoreRequest): Promise<Selected> {
  return openSelected(context, await selectBackup(context, request.repositories, request))
}

function warnOf(context: Context, selected: Selected): void {
  for (const note of drillNotes(selected)) context.warn(`${selected.manifest.source}: ${note}`)
}

async function planOf(context: Context, request: RestoreRequest, selected: Selected): Promise<RestorePlan> {
  assertPartPossible(request, selected)
  return selected.manifest.kind === 'sqlite'
    ? planDatabaseRestore(context, request, selected)
    : planTreeRestore(context, request, selected)
}
