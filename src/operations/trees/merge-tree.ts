import { accessSync, constants, lstatSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import { partOfTree } from '../../image/tree/part-of-tree.js'
import type { Tree } from '../../image/tree/tree.js'
import { namingFullDisk } from '../../sources/sqlite/disk-full.js'
import { derivedName } from '../../system/derived-name.js'
import { HeldDirectory } from '../../system/held-directory.js'
import { dropStaging, stagingPlace, whileStaging } from '../../system/staging.js'
import { trustedPath } from '../../system/trusted-path.js'
import { plannedBackup } from '../planned-backup.js'
import type { OverwriteRule, RestorePlan, RestoreRequest } from '../requests.js'
import { thisProcess } from '../restoring-process.js'
import type { RestoreResult } from '../results.js'
import type { Selected } from '../select.js'
import { shellQuoted } from '../shell.js'
import { chosenPart } from './chosen-part.js'
import { HiddenNames } from './hidden-names.js'
import { finishInterruptedTrees } from './interrupted-trees.js'
import { type LogLeftOut, logsLeftOut, warnOfLogs } from './logs-left-out.js'
import { EntryMerger } from './merge-entries.js'
import { MergeRules } from './merge-rules.js'
import { ReplacedFiles } from './replaced-files.js'
import { noOwner, outcomeOf, type WrittenTree, writeTree } from './restore-tree.js'
import { createTreeRecord, removeTreeRecord, replaceTreeRecord, type TreeRecord } from './tree-record.js'

/** What a merge into a directory would do. @throws NexusError `not-found` (`merge_target_missing`), `usage` */
export function planMerge(context: Context, request: RestoreRequest, selected: Selected): RestorePlan {
  const target = targetOf(request)
  const backup = plannedBackup(selected)
  return {
    ...backup,
    target,
    in_place: false,
    replaces: request.merge?.overwrite !== 'never',
    previous: request.previous ?? keptName(homeOf(target), context.now()),
    service: null,
    bytes: selected.manifest.bytes_source,
    merge: request.merge?.overwrite ?? 'if-changed',
  }
}

/**
 * Restores into a directory that is in use: all that is written is staged beside it and proven, then moved in entry by
 * entry. What is replaced is kept; nothing is removed. The caller holds the lock.
 *
 * @throws NexusError `failed` (`merge_half_done`) when it ends in between; running it again goes on
 */
export async function mergeTree(
  context: Context,
  request: RestoreRequest,
  { plan, selected, began }: { plan: RestorePlan; selected: Selected; began: Date },
): Promise<RestoreResult> {
  const target = targetOf(request)
  const rule = request.merge?.overwrite ?? 'if-changed'
  const home = homeOf(target)
  await finishInterruptedTrees(context, { name: plan.source, paths: [home], service: null })
  const place = stagingPlace(home, `nexus-restore-${plan.id.slice(-4)}-${process.pid}`)
  const previous = plan.previous ?? keptName(home, began)
  const record = recordOf(home, place.staged, previous)
  createTreeRecord(record)
  try {
    return await whileStaging(place, async ({ path: directory }) => {
      await mkdir(directory, { mode: 0o700 })
      const { written, rules } = await stage(context, request, { selected, directory, target, rule })
      const { same } = rules
      const kept = new ReplacedFiles(previous)
      const merger = new EntryMerger({
        rule,
        signal: context.signal,
        progress: done => context.progress({ phase: `${plan.source}: merging`, done, total: undefined, unit: 'items' }),
        hidden: hiddenNames(record, target),
        kept,
        problems: written.problems,
        same,
      })
      for (const [path, why] of rules.blocked) written.problems.leftOut(path, why)
      const again = commandAgain(request, { id: plan.id, target, rule })
      await move(context, merger, { directory, target, kept, again })
      const isKept = merger.replaced.length > 0
      return {
        command: 'restore',
        id: plan.id,
        target,
        captured_at: plan.captured_at,
        previous: isKept ? previous : null,
        undo: null,
        ...outcomeOf(context, plan.source, written),
        merged: { created: merger.created, replaced: merger.replaced, left: rules.left },
        duration_ms: Math.max(0, context.now().getTime() - began.getTime()),
      }
    })
  } finally {
    for (const name of [record.moves[0]?.staged ?? '', ...record.scratch]) dropStaging(name)
    removeTreeRecord(record)
  }
}

async function stage(
  context: Context,
  { part, noOwner: isOurs }: RestoreRequest,
  { selected, directory, target, rule }: { selected: Selected; directory: string; target: string; rule: OverwriteRule },
): Promise<{ written: WrittenTree; rules: MergeRules }> {
  let rules: MergeRules | undefined
  let logs: LogLeftOut[] = []
  const narrow = (whole: Tree) => {
    let tree = whole
    if (part !== undefined) {
      const chosen = chosenPart(whole, selected.manifest, part)
      logs = logsLeftOut(whole, chosen)
      tree = chosen
    }
    const decided = new MergeRules(target, rule, tree)
    rules = decided
    return partOfTree(tree, entry => decided.wants(entry))
  }
  const owner = isOurs === true ? { owner: noOwner } : {}
  const written = await namingFullDisk([dirname(directory)], () =>
    writeTree(context, selected, { directory, elsewhere: new Map(), narrow, ...owner }),
  )
  warnOfLogs(context, selected.manifest, logs, directory)
  if (rules === undefined) throw new Error('a merge decides before it writes')
  return { written, rules }
}

async function move(
  context: Context,
  merger: EntryMerger,
  { directory, target, kept, again }: { directory: string; target: string; kept: ReplacedFiles; again: string },
): Promise<void> {
  const [from, to] = [HeldDirectory.open(directory), HeldDirectory.open(target)]
  try {
    await merger.merge(from, to)
  } catch (error) {
    to.nameIn(error)
    const done = merger.created + merger.replaced.length
    const where = merger.replaced.length === 0 ? '' : `, and what they replaced is kept in ${kept.path}`
    const state = done === 0 ? `${target} is as it was` : `${done} entries are in ${target} already${where}`
    if (context.signal.aborted) {
      // What is told of a signal is the signal alone.
      context.warn(`the merge was stopped: ${state}; to go on, run: ${again}`)
      throw error
    }
    throw new NexusError('failed', 'merge_half_done', `${messageOf(error)}; ${state}`, {
      hint: `remove the cause and go on: ${again}`,
      cause: error,
    })
  } finally {
    kept.close()
    from.close()
    to.close()
  }
}

/** The command that does what a merge has not done yet, and what it has done not again unless everything is overwritten. */
function commandAgain(
  { part, noOwner: isOurs, untrusted }: RestoreRequest,
  { id, target, rule }: { id: string; target: string; rule: OverwriteRule },
): string {
  const patterns = [
    ...(part?.include ?? []).map(pattern => `--include ${shellQuoted(pattern)} `),
    ...(part?.exclude ?? []).map(pattern => `--exclude ${shellQuoted(pattern)} `),
  ].join('')
  const flags = `${isOurs === true ? '--no-owner ' : ''}${untrusted === true ? '--untrusted ' : ''}`
  return `nexus-backup restore ${id} ${patterns}${flags}--merge --overwrite ${rule} --to ${shellQuoted(target)}`
}

/** Notes in the record where a killed run may leave something. */
function hiddenNames(record: TreeRecord, target: string): HiddenNames {
  const above = target === dirname(record.home) ? '' : `${basename(target)}/`
  return new HiddenNames(({ directory, mark }) => {
    replaceTreeRecord({ ...record, hidden: { directory: `${above}${directory}`, mark } })
  })
}

/** @throws NexusError `not-found` (`merge_target_missing`) */
function targetOf({ target, backup }: RestoreRequest): string {
  const path = target.kind === 'path' ? trustedPath(target.path) : ''
  if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return path
  throw new NexusError('not-found', 'merge_target_missing', `there is no directory ${path} to merge into`, {
    hint: `restore to a new one without --merge: nexus-backup restore ${shellQuoted(backup)} --to ${shellQuoted(path)}`,
  })
}

/**
 * Beside which path staged and kept files lie: the directory itself, or a name in it where what is beside it is on another
 * file system or closed to us.
 */
function homeOf(target: string): string {
  const around = dirname(target)
  const isBeside = target !== '/' && lstatSync(around).dev === lstatSync(target).dev && isWritable(around)
  return isBeside ? target : join(target, 'nexus-backup')
}

function isWritable(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK | constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Not a name that a rollback would take for what stood there. */
function keptName(home: string, now: Date): string {
  const stamp = now.toISOString().replaceAll('-', '').replaceAll(':', '')
  return join(dirname(home), derivedName(basename(home), { suffix: `.before-merge-${stamp}` }))
}

function recordOf(home: string, staged: string, previous: string): TreeRecord {
  return {
    format: 1,
    kind: 'trees',
    ...thisProcess(),
    home,
    moves: [{ staged, target: home, previous, replaces: false }],
    kept: [],
    disposable: true,
    scratch: [`${staged}.digests`],
    service: null,
    merge: true,
    phase: 'staging',
  }
}
