import { dirname } from 'node:path'
import { NexusError } from '../../errors.js'
import { syncDirectory } from '../../sources/crash-record.js'
import { nameExists as exists, moveName } from '../../system/names.js'
import { dropStaging, moveIntoPlace } from '../../system/staging.js'
import type { TreeRecord } from './tree-record.js'

/** One directory or file taking another's place; all three lie in one directory. */
export interface TreeMove {
  staged: string
  target: string
  /** Name for what is replaced; nothing has it yet. */
  previous: string
}

type RecordedMove = TreeRecord['moves'][number]

/**
 * Brings what is staged to its places, as far as that is not done yet: repeatable after a crash.
 *
 * @throws NexusError `failed` (`target_reappeared`)
 */
export async function moveForward(moves: readonly RecordedMove[]): Promise<void> {
  for (const { staged, target, previous, replaces } of moves) {
    if (!exists(staged)) continue
    if (replaces && !exists(previous)) moveName(target, previous)
    // rename(2) would quietly replace an empty directory.
    if (exists(target)) throw reappeared(target)
    moveIntoPlace(staged, target)
    await syncDirectory(dirname(target))
  }
}

/** Brings back what stood in the places, as far as anything was moved: repeatable as well. */
export async function moveBack(moves: readonly RecordedMove[]): Promise<void> {
  for (const { staged, target, previous, replaces } of moves.toReversed()) {
    if (!exists(staged) && exists(target)) moveName(target, staged)
    if (replaces && exists(previous)) {
      if (exists(target)) throw reappeared(target)
      moveName(previous, target)
    }
    await syncDirectory(dirname(target))
  }
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
