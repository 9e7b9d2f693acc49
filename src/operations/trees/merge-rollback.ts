import { existsSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import { RestoreProblems } from '../../image/tree/restore-problems.js'
import { trustedPath } from '../../system/trusted-path.js'
import type { RestorePlan } from '../requests.js'
import { thisProcess } from '../restoring-process.js'
import type { RestoreResult } from '../results.js'
import { finishInterruptedTrees } from './interrupted-trees.js'
import { undoCommand } from './merge-forward.js'
import { homeOf, keptName, lastMerge, withContinued } from './merge-home.js'
import { type UndoCounts, undoPasses } from './merge-undo.js'
import { ReplacedFiles } from './replaced-files.js'
import { createTreeRecord, readTreeRecord, removeTreeRecord, type TreeRecord } from './tree-record.js'

/** The undo of the last merge into a directory. */
export interface MergeRollback {
  source: string
  path: string
  /** As in a restore's request. */
  previous?: string | null | undefined
}

/** Whether the last thing that was restored to a path is a merge into it, or one that was killed. */
export function isMergedLast(path: string): boolean {
  const target = trustedPath(path)
  return lastMerge(target) !== null || recordAt(target)?.merge === true
}

/** What `restore SOURCE --rollback --to DIR` would do after a merge into the directory. */
export function planMergeRollback(context: Context, { source, path }: MergeRollback): RestorePlan {
  const target = trustedPath(path)
  const last = lastMerge(target)
  return {
    id: last === null ? basename(target) : basename(last.path),
    source,
    captured_at: new Date(last?.instant ?? context.now()).toISOString(),
    chain: [],
    target,
    in_place: false,
    replaces: true,
    previous: keptName(last?.home ?? homeOf(target), context.now()),
    service: null,
    bytes: 0,
    merge: 'always',
    ...(last === null ? {} : { undoes: last.path }),
  }
}

/**
 * Brings back what the last merge into a directory replaced and removes what it added; what was changed since is kept in
 * turn, or stays where it was added. The same command undoes that.
 *
 * @throws NexusError `not-found` (`nothing_to_roll_back`), `failed` (`merge_half_done`): the next run goes on
 */
export async function rollBackMerge(context: Context, request: MergeRollback): Promise<RestoreResult> {
  const { source } = request
  const began = context.now()
  const target = trustedPath(request.path)
  const isGoingOn = recordAt(target)?.undoes === true
  const outcome = await finishInterruptedTrees(context, { name: source, paths: [homeOf(target)], service: null })
  const last = lastMerge(target)
  if (isGoingOn && outcome === 'finished')
    return resultOf(source, { target, previous: last?.path ?? '', began, context })
  if (last === null) throw nothingMerged(source, target)
  const merges = withContinued(last.path)
  const previous = request.previous ?? keptName(last.home, began)
  const record = recordOf(last.home, { merges: merges.map(one => one.path), previous, into: target })
  createTreeRecord(record)
  const kept = new ReplacedFiles(previous)
  const problems = new RestoreProblems()
  let counts: UndoCounts
  try {
    counts = await undoPasses(context, { source, record, target, rule: 'always', kept, problems }, merges)
  } catch (error) {
    // The record stays: whoever restores to this directory next finishes it.
    if (context.signal.aborted) {
      context.warn(`the undo was stopped; to go on, run: ${undoCommand(source, target)}`)
      throw error
    }
    throw new NexusError('failed', 'merge_half_done', `the undo is not finished: ${messageOf(error)}`, {
      hint: `remove the cause and go on: ${undoCommand(source, target)}`,
      cause: error,
    })
  }
  kept.close('whole')
  removeTreeRecord(record)
  const sentences = problems.sentences()
  for (const problem of sentences) context.warn(`${source}: ${problem}`)
  const { created, replaced, removed } = counts
  return {
    ...resultOf(source, { target, previous, began, context }),
    problems: sentences,
    merged: { created, replaced, left: 0, removed },
  }
}

function resultOf(
  source: string,
  { target, previous, began, context }: { target: string; previous: string; began: Date; context: Context },
): RestoreResult {
  const isKept = existsSync(previous)
  return {
    command: 'restore',
    id: null,
    target,
    captured_at: null,
    previous: isKept ? previous : null,
    undo: isKept ? undoCommand(source, target) : null,
    checks: [],
    duration_ms: Math.max(0, context.now().getTime() - began.getTime()),
  }
}

function recordAt(target: string): TreeRecord | null {
  return existsSync(target) ? readTreeRecord(homeOf(target)) : null
}

function recordOf(
  home: string,
  { merges, previous, into }: { merges: readonly string[]; previous: string; into: string },
): TreeRecord {
  return {
    format: 1,
    kind: 'trees',
    ...thisProcess(),
    home,
    moves: merges.map(staged => ({ staged, target: home, previous, replaces: false })),
    kept: [],
    disposable: false,
    scratch: [],
    service: null,
    merge: true,
    into,
    rule: 'always',
    undoes: true,
    phase: 'forward',
  }
}

function nothingMerged(source: string, target: string): NexusError {
  const message = `no merge of ${source} into ${target} can be undone: nothing beside ${dirname(target)} tells of one`
  return new NexusError('not-found', 'nothing_to_roll_back', message, {
    hint: `a backup can be restored instead: nexus-backup list ${source}`,
  })
}
