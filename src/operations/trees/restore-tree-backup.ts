import { existsSync, lstatSync, readdirSync } from 'node:fs'
import { mkdir, rmdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { FilesSourceSettings, SourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import type { Tree } from '../../image/tree/tree.js'
import { stagingPlace, whileStaging } from '../../system/staging.js'
import { trustedPath } from '../../system/trusted-path.js'
import { plannedBackup } from '../planned-backup.js'
import type { RecoveryCalls, RestorePlan, RestoreRequest } from '../requests.js'
import type { RestoreResult } from '../results.js'
import type { Selected } from '../select.js'
import { previousName } from '../set-aside.js'
import { shellQuoted } from '../shell.js'
import { chosenPart } from './chosen-part.js'
import { finishInterruptedTrees } from './interrupted-trees.js'
import { type LogLeftOut, logsLeftOut, warnOfLogs } from './logs-left-out.js'
import { mergeTree, planMerge } from './merge-tree.js'
import { planClusterInPlace, restoreClusterInPlace } from './restore-cluster-in-place.js'
import { planFilesInPlace, restoreFilesInPlace } from './restore-files-in-place.js'
import { noOwner, outcomeOf, type WrittenTree, writeTree } from './restore-tree.js'
import { putTreesInPlace } from './tree-in-place.js'

/** What a restore of directories would do. @throws NexusError for everything that can be refused before a byte is written */
export async function planTreeRestore(
  context: Context,
  request: RestoreRequest,
  selected: Selected,
): Promise<RestorePlan> {
  const { manifest } = selected
  if (request.target.kind === 'in-place') {
    const { source } = request.target
    const place = { selected, previous: request.previous }
    return manifest.kind === 'postgres'
      ? planClusterInPlace(context, { source, recovery: recoveryOf(request), ...place })
      : planFilesInPlace(context, { source: filesOf(source), ...place })
  }
  if (request.merge !== undefined) return planMerge(context, request, selected)
  const target = besideTrusted(request.target.path)
  const backup = plannedBackup(selected)
  const replaces = assertTarget(target, request.target.force)
  return {
    ...backup,
    target,
    in_place: false,
    replaces,
    previous: replaces ? (request.previous ?? previousName(target, context.now())) : null,
    service: null,
    bytes: manifest.bytes_source,
  }
}

/** Restores directories into a new one: staged beside it, proven, then renamed. The caller holds the lock. */
export async function restoreTreeBackup(
  context: Context,
  request: RestoreRequest,
  { plan, selected, began }: { plan: RestorePlan; selected: Selected; began: Date },
): Promise<RestoreResult> {
  if (request.target.kind === 'in-place') {
    const { source } = request.target
    const place = { selected, previous: plan.previous }
    return selected.manifest.kind === 'postgres'
      ? restoreClusterInPlace(context, { source, recovery: recoveryOf(request), ...place })
      : restoreFilesInPlace(context, { source: filesOf(source), ...place, noOwner: request.noOwner === true })
  }
  if (request.merge !== undefined) return mergeTree(context, request, { plan, selected, began })
  const { target } = plan
  await finishInterruptedTrees(context, { name: plan.source, paths: [target], service: null })
  const place = stagingPlace(target, `nexus-restore-${plan.id.slice(-4)}-${process.pid}`)
  const { staged } = place
  const placement = {
    source: plan.source,
    moves: [{ staged, target, previous: plan.previous ?? previousName(target, began) }],
    disposable: true,
    // Made by writeTree, and left by it when it is killed.
    scratch: [`${staged}.digests`],
    service: null,
  }
  let written: WrittenTree | undefined
  const [placed] = await putTreesInPlace(context, placement, async () => {
    written = await whileStaging(place, async ({ path: directory }) => {
      await mkdir(directory, { mode: 0o700 })
      const owner = request.noOwner === true ? { owner: noOwner } : {}
      const { part } = request
      let logs: LogLeftOut[] = []
      const narrow =
        part &&
        ((tree: Tree) => {
          const chosen = chosenPart(tree, selected.manifest, part)
          logs = logsLeftOut(tree, chosen)
          return chosen
        })
      const tree = await writeTree(context, selected, { directory, elsewhere: new Map(), ...owner, narrow })
      warnOfLogs(context, plan, logs, directory)
      return tree
    })
    // An empty directory was offered as the place, not as something to be kept.
    if (plan.previous === null && existsSync(target)) await rmdir(target)
  })
  const previous = placed?.previous ?? null
  return {
    command: 'restore',
    id: plan.id,
    target,
    captured_at: plan.captured_at,
    previous,
    undo: previous === null ? null : `nexus-backup restore ${plan.source} --rollback --to ${shellQuoted(target)}`,
    ...outcomeOf(context, plan.source, written),
    duration_ms: Math.max(0, context.now().getTime() - began.getTime()),
  }
}

/** The directory is what the path leads to; what lies in it is replaced itself, and be it a link. */
function besideTrusted(path: string): string {
  return join(trustedPath(dirname(path)), basename(path))
}

function assertTarget(target: string, force: boolean): boolean {
  const parent = dirname(target)
  if (!existsSync(parent) || !lstatSync(parent).isDirectory()) {
    throw new NexusError('not-found', 'target_directory_missing', `there is no directory ${parent} to restore into`, {
      hint: `make it first: mkdir -p ${shellQuoted(parent)}`,
    })
  }
  if (!existsSync(target)) return false
  if (lstatSync(target).isDirectory() && readdirSync(target).length === 0) return false
  if (force) return true
  throw new NexusError('refused', 'target_exists', `${target} exists already and is not an empty directory`, {
    hint: 'choose another path, or add --force to replace it; what it replaces is kept beside it',
  })
}

function filesOf(source: SourceSettings): FilesSourceSettings {
  if (source.kind === 'files') return source
  throw new NexusError('refused', 'kind_differs', `${source.name} is configured as ${source.kind}, not as files`, {
    hint: 'restore it beside with --to PATH, or put the kind in the configuration right',
  })
}

function recoveryOf({ recovery, untrusted }: RestoreRequest): RecoveryCalls {
  if (recovery !== undefined) return { ...recovery, untrusted }
  throw new NexusError('failed', 'recovery_unknown', 'a cluster in place needs to know how its server calls us')
}
