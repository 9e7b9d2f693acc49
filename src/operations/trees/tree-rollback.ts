import { lstatSync } from 'node:fs'
import { basename } from 'node:path'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { nameExists as exists } from '../../system/names.js'
import { trustedPath } from '../../system/trusted-path.js'
import type { RestorePlan } from '../requests.js'
import type { RestoreResult } from '../results.js'
import { lastPreviousOf, namesLike, previousNames } from '../set-aside.js'
import { finishInterruptedTrees } from './interrupted-trees.js'
import { forgetKept, recallKept } from './kept-memory.js'
import { putTreesInPlace } from './tree-in-place.js'
import type { TreeMove } from './tree-swap.js'

/** A rollback of directories. */
export interface TreeRollback {
  source: {
    name: string
    service: string | null
    /** The command that takes the rollback back; left out for the one that goes by the source's name. */
    undo?: string
  }
  dryRun?: boolean
  /** As in a restore's request. */
  previous?: string | null | undefined
}

/**
 * What `restore SOURCE --rollback` would do for directories: bring back all that the last restore replaced.
 *
 * @param paths configured paths of the source's roots, its data directory, or the path that `--to` names
 * @throws NexusError `not-found` (`nothing_to_roll_back`)
 */
export async function planTreeRollback(
  context: Context,
  request: TreeRollback,
  paths: readonly string[],
): Promise<RestorePlan> {
  const { source } = request
  const moves = movesOf(request, paths, context.now())
  const replaced = moves.filter(({ target }) => exists(target))
  return {
    id: moves.map(({ staged }) => basename(staged)).join(', '),
    source: source.name,
    captured_at: new Date(Math.max(...moves.map(({ staged }) => lstatSync(staged).mtimeMs))).toISOString(),
    chain: [],
    target: moves.map(({ target }) => target).join(', '),
    in_place: source.undo === undefined,
    replaces: replaced.length > 0,
    previous: replaced.length === 0 ? null : replaced.map(({ previous }) => previous).join(', '),
    service: source.service,
    bytes: 0,
  }
}

/** Brings back what the last restore replaced, all of it or nothing; what stood there meanwhile is set aside in turn. */
export async function rollBackTrees(
  context: Context,
  request: TreeRollback,
  paths: readonly string[],
): Promise<RestoreResult> {
  const { source } = request
  const began = context.now()
  if ((await finishInterruptedTrees(context, { name: source.name, paths, service: source.service })) === 'undone')
    throw wasUndone(source.name)
  const moves = movesOf(request, paths, began)
  const known = new Set(moves.map(({ target }) => target))
  const left = paths.map(path => trustedPath(path)).filter(target => !known.has(target))
  if (left.length > 0) {
    context.warn(`${source.name}: the last restore replaced nothing at ${left.join(', ')}, which stays as it is`)
  }
  const kept = () =>
    moves.flatMap(({ staged, target, previous }) => recallKept(staged).map(name => ({ target, previous, name })))
  const placement = { source: source.name, moves, disposable: false, scratch: [], service: source.service, kept }
  const placed = await putTreesInPlace(context, placement, async () => {})
  for (const { staged } of moves) forgetKept(staged)
  const previous = placed.flatMap(tree => tree.previous ?? [])
  return {
    command: 'restore',
    id: null,
    target: placed.map(({ target }) => target).join(', '),
    captured_at: null,
    previous: previous.length === 0 ? null : previous.join(', '),
    undo:
      previous.length === 0
        ? null
        : (source.undo ?? `nexus-backup restore ${source.name} --rollback --confirm ${source.name}`),
    checks: [],
    duration_ms: Math.max(0, context.now().getTime() - began.getTime()),
  }
}

function movesOf({ source, previous }: TreeRollback, paths: readonly string[], now: Date): TreeMove[] {
  const asides = lastPreviousOf(paths.map(path => trustedPath(path)))
  if (asides.length === 0) {
    throw new NexusError('not-found', 'nothing_to_roll_back', `no restore of ${source.name} has set anything aside`, {
      hint: `a backup can be restored instead: nexus-backup list ${source.name}`,
    })
  }
  const targets = asides.map(({ target }) => target)
  const shown = typeof previous === 'string' ? namesLike(targets, previous) : undefined
  const names = shown ?? previousNames(targets, now)
  return asides.map(({ target, previous: staged }, at) => ({ staged, target, previous: names[at] ?? '' }))
}

/** Going on would bring back what the restore before that one replaced, which nobody asked for. */
function wasUndone(name: string): NexusError {
  const message = `the last restore of ${name} was killed before it replaced anything, so there is nothing of it to roll back`
  return new NexusError('refused', 'restore_was_undone', message, {
    hint: 'to bring back what the restore before that one replaced, run it again',
  })
}
