import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import { partOfTree } from '../../image/tree/part-of-tree.js'
import type { Tree } from '../../image/tree/tree.js'
import { namingFullDisk } from '../../sources/sqlite/disk-full.js'
import { isDirectory } from '../../system/names.js'
import { dropStaging, stagingPlace, whileStaging } from '../../system/staging.js'
import { trustedPath } from '../../system/trusted-path.js'
import { plannedBackup } from '../planned-backup.js'
import type { OverwriteRule, RestorePlan, RestoreRequest } from '../requests.js'
import { assertSpaceAt } from '../restore-space.js'
import { thisProcess } from '../restoring-process.js'
import type { RestoreResult } from '../results.js'
import { openBackup } from '../sealing/open-backup.js'
import type { Selected } from '../select.js'
import { shellQuoted } from '../shell.js'
import { chosenPart } from './chosen-part.js'
import { finishInterruptedTrees } from './interrupted-trees.js'
import { type LogLeftOut, logsLeftOut, warnOfLogs } from './logs-left-out.js'
import type { EntryMerger } from './merge-entries.js'
import { mergerOf, undoCommand, whileMoving } from './merge-forward.js'
import { homeOf, keptName, stoppedMerge } from './merge-home.js'
import { MergeRules } from './merge-rules.js'
import { ReplacedFiles } from './replaced-files.js'
import { noOwner, outcomeOf, type WrittenTree, writeTree } from './restore-tree.js'
import { treeOf } from './tree-part.js'
import { createTreeRecord, removeTreeRecord, replaceTreeRecord, type TreeRecord } from './tree-record.js'

/** What a merge into a directory would do. @throws NexusError `not-found` (`merge_target_missing`), `usage` */
export async function planMerge(context: Context, request: RestoreRequest, selected: Selected): Promise<RestorePlan> {
  const target = targetOf(request)
  const rule = ruleOf(request)
  const { room, manifest } = selected
  const whole = await treeOf(room, await openBackup(context, room.repository, manifest))
  const tree = request.part === undefined ? whole : chosenPart(whole, manifest, request.part)
  const rules = new MergeRules(target, rule, tree)
  const part = partOfTree(tree, entry => rules.wants(entry))
  return {
    ...plannedBackup(selected),
    target,
    in_place: false,
    replaces: rules.replaced > 0,
    previous: request.previous ?? keptName(homeOf(target), context.now()),
    service: null,
    bytes: part.bytes,
    merge: rule,
    merging: { created: rules.created, replaced: rules.replaced, left: rules.left, bytes_kept: rules.bytesReplaced },
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
  const home = homeOf(target)
  await finishInterruptedTrees(context, { name: plan.source, paths: [home], service: null })
  const place = stagingPlace(home, `nexus-restore-${plan.id.slice(-4)}-${process.pid}`)
  const previous = plan.previous ?? keptName(home, began)
  const record = recordOf(home, { staged: place.staged, previous, into: target, rule: ruleOf(request) })
  createTreeRecord(record)
  try {
    return await whileStaging(place, async ({ path: directory }) => {
      await mkdir(directory, { mode: 0o700 })
      const { written, rules } = await stage(context, request, { selected, directory, target })
      for (const [path, why] of rules.blocked) written.problems.leftOut(path, why)
      context.signal.throwIfAborted()
      const kept = new ReplacedFiles(previous, { continues: stoppedMerge(home) })
      const moving: TreeRecord = { ...record, phase: 'forward' }
      replaceTreeRecord(moving)
      const forward = {
        source: plan.source,
        record: moving,
        target,
        rule: ruleOf(request),
        kept,
        problems: written.problems,
      }
      const merger = mergerOf(context, forward)
      await move(context, merger, {
        directory,
        target,
        kept,
        source: plan.source,
        again: commandAgain(request, plan.id, target),
      })
      const isChanged = merger.created + merger.replaced.length > 0
      return {
        command: 'restore',
        id: plan.id,
        target,
        captured_at: plan.captured_at,
        previous: merger.replaced.length > 0 ? previous : null,
        undo: isChanged ? undoCommand(plan.source, target) : null,
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
  { part, noOwner: isOurs, ...request }: RestoreRequest,
  { selected, directory, target }: { selected: Selected; directory: string; target: string },
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
    const decided = new MergeRules(target, ruleOf(request), tree)
    rules = decided
    return partOfTree(tree, entry => decided.wants(entry))
  }
  const owner = isOurs === true ? { owner: noOwner } : {}
  const written = await namingFullDisk([dirname(directory)], () =>
    writeTree(context, selected, { directory, elsewhere: new Map(), narrow, ...owner }),
  )
  warnOfLogs(context, selected.manifest, logs, directory)
  if (rules === undefined) throw new Error('a merge decides before it writes')
  await assertSpaceAt(rules.copies(dirname(directory)))
  return { written, rules }
}

/** Moves all that is staged, and closes what is kept. */
async function move(
  context: Context,
  merger: EntryMerger,
  work: { directory: string; target: string; kept: ReplacedFiles; source: string; again: string },
): Promise<void> {
  const { directory, target, kept } = work
  const changes = () => merger.created + merger.replaced.length
  let ended: 'whole' | 'part' = 'part'
  try {
    await whileMoving(directory, target, (from, to) => merger.merge(from, to))
    ended = 'whole'
  } catch (error) {
    throw stopped(context, error, { ...work, done: changes(), replaced: merger.replaced.length })
  } finally {
    if (changes() > 0) kept.close(ended)
    else kept.discard()
  }
}

/** Tells of a signal how far the merge is; gives the error to throw. */
function stopped(
  context: Context,
  error: unknown,
  done: { target: string; kept: ReplacedFiles; source: string; again: string; done: number; replaced: number },
): unknown {
  const { target, kept, source, again } = done
  const where = done.replaced === 0 ? '' : `, and what they replaced is kept in ${kept.path}`
  const undo = done.done === 0 ? '' : `; to undo them, run: ${undoCommand(source, target)}`
  const state = done.done === 0 ? `${target} is as it was` : `${done.done} entries are in ${target} already${where}`
  if (context.signal.aborted) {
    // What is told of a signal is the signal alone.
    context.warn(`the merge was stopped: ${state}${undo}; to go on, run: ${again}`)
    return error
  }
  return new NexusError('failed', 'merge_half_done', `${messageOf(error)}; ${state}`, {
    hint: `remove the cause and go on: ${again}${undo}`,
    cause: error,
  })
}

/** The command that does what a merge has not done yet, and what it has done not again unless everything is overwritten. */
function commandAgain(request: RestoreRequest, id: string, target: string): string {
  const { part, noOwner: isOurs, untrusted } = request
  const patterns = [
    ...(part?.include ?? []).map(pattern => `--include ${shellQuoted(pattern)} `),
    ...(part?.exclude ?? []).map(pattern => `--exclude ${shellQuoted(pattern)} `),
  ].join('')
  const flags = `${isOurs === true ? '--no-owner ' : ''}${untrusted === true ? '--untrusted ' : ''}`
  return `nexus-backup restore ${id} ${patterns}${flags}--merge --overwrite ${ruleOf(request)} --to ${shellQuoted(target)}`
}

/** @throws NexusError `not-found` (`merge_target_missing`) */
function targetOf({ target, backup }: RestoreRequest): string {
  const path = target.kind === 'path' ? trustedPath(target.path) : ''
  if (isDirectory(path)) return path
  throw new NexusError('not-found', 'merge_target_missing', `there is no directory ${path} to merge into`, {
    hint: `restore to a new one without --merge: nexus-backup restore ${shellQuoted(backup)} --to ${shellQuoted(path)}`,
  })
}

function ruleOf({ merge }: Pick<RestoreRequest, 'merge'>): OverwriteRule {
  return merge?.overwrite ?? 'if-changed'
}

function recordOf(
  home: string,
  { staged, previous, into, rule }: { staged: string; previous: string; into: string; rule: OverwriteRule },
): TreeRecord {
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
    into,
    rule,
    phase: 'staging',
  }
}
