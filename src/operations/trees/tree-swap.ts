import { dirname } from 'node:path'
import { NexusError } from '../../errors.js'
import { syncDirectory } from '../../sources/crash-record.js'
import { nameExists as exists, moveName } from '../../system/names.js'
import { renameBeneath, syncBeneath } from '../../system/rename-beneath.js'
import { dropStaging, moveIntoPlace } from '../../system/staging.js'
import type { TreeRecord } from './tree-record.js'

/** One directory or file taking another's place; all three lie in one directory. */
export interface TreeMove {
  staged: string
  target: string
  /** Name for what is replaced; nothing has it yet. */
  previous: string
}

/**
 * Brings what is staged to its places, as far as that is not done yet: repeatable after a crash.
 *
 * @throws NexusError `failed` (`target_reappeared`)
 */
export async function moveForward({ moves, kept = [] }: Pick<TreeRecord, 'moves' | 'kept'>): Promise<void> {
  for (const { staged, target, previous, replaces } of moves) {
    if (!exists(staged)) continue
    if (replaces && !exists(previous)) moveName(target, previous)
    // rename(2) would quietly replace an empty directory.
    if (exists(target)) throw reappeared(target)
    moveIntoPlace(staged, target)
    await syncDirectory(dirname(target))
  }
  moveKept(kept.map(({ target, previous, name }) => ({ from: previous, to: target, name })))
}

/** Brings back what stood in the places, as far as anything was moved: repeatable as well. */
export async function moveBack({ moves, kept = [] }: Pick<TreeRecord, 'moves' | 'kept'>): Promise<void> {
  moveKept(kept.map(({ target, previous, name }) => ({ from: target, to: previous, name })))
  for (const { staged, target, previous, replaces } of moves.toReversed()) {
    if (!exists(staged) && exists(target)) moveName(target, staged)
    if (replaces && exists(previous)) {
      if (exists(target)) throw reappeared(target)
      moveName(previous, target)
    }
    await syncDirectory(dirname(target))
  }
}

/** As far as it is not done yet: what was moved is in its place. */
function moveKept(entries: readonly { from: string; to: string; name: string }[]): void {
  const changed = new Map<string, { root: string; directory: string }>()
  for (const { from, to, name } of entries) {
    renameBeneath(from, to, name)
    const directory = name.slice(0, Math.max(name.lastIndexOf('/'), 0))
    for (const root of [from, to]) changed.set(`${root}/${directory}`, { root, directory })
  }
  for (const { root, directory } of changed.values()) syncBeneath(root, directory)
}

/** Removes what a restore made and does not need any more. */
export function dropScratch({ moves, disposable, scratch }: TreeRecord): void {
  const staged = disposable ? moves.map(move => move.staged) : []
  for (const name of [...staged, ...scratch]) dropStaging(name)
}

function reappeared(target: string): NexusError {
  return new NexusError('failed', 'target_reappeared', `something made ${target} anew while it was being replaced`, {
    hint: `stop the program that uses it, move ${target} away, and run any command for this source again`,
  })
}
