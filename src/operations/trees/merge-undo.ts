import { lstatSync, readdirSync, rmdirSync, type Stats, unlinkSync } from 'node:fs'
import type { Context } from '../../context.js'
import { errnoOf } from '../../errors.js'
import { fsPath, nameOf } from '../../system/file-names.js'
import { type HeldDirectory, whileHeld } from '../../system/held-directory.js'
import { byShortPath } from '../../system/long-paths.js'
import { AddedEntries } from './added-entries.js'
import { type Forward, mergerOf, whileMoving } from './merge-forward.js'
import { LIST_NAME, type ListedEntry, type ListSummary, readMergeList } from './merge-list.js'

/** What an undo did. */
export interface UndoCounts {
  /** Entries that were brought back where nothing was. */
  created: number
  /** Relative paths of what made way for what was brought back. */
  replaced: string[]
  /** Entries that the merge had added and that are taken away. */
  removed: number
}

/**
 * Undoes merges, the last one first: what each replaced comes back, and what it added is taken away unless it was changed
 * since. What makes way is kept in turn. It can be done again after a crash.
 *
 * @param merges directories that keep what they replaced
 */
export async function undoPasses(
  context: Context,
  forward: Forward,
  merges: readonly { path: string; summary: ListSummary }[],
): Promise<UndoCounts> {
  const counts: UndoCounts = { created: 0, replaced: [], removed: 0 }
  const { kept, problems, target } = forward
  const before = kept.isAgain ? listedIn(kept.path) : new Set<string>()
  for (const { path, summary } of merges) {
    await whileMoving(path, target, async (from, to) => {
      const added: ListedEntry[] = []
      readMergeList(from, entry => {
        const isBack = before.has(entry.path) || byShortPath(from.at(entry.path), isThere)
        if (!isBack) added.push(entry)
      })
      const merger = mergerOf(context, forward)
      await merger.merge(from, to)
      const removal = new AddedEntries({ target: to, kept, problems, writtenAt: summary.writtenAt })
      // What a directory holds stands behind it.
      for (const entry of added.toReversed()) {
        context.signal.throwIfAborted()
        removal.remove(entry)
      }
      counts.created += merger.created
      counts.replaced.push(...merger.replaced)
      counts.removed += removal.count
      for (const entry of merger.copied) byShortPath(from.at(entry), at => unlinkSync(at))
      unlinkSync(from.at(LIST_NAME))
      removeEmpty(from)
    })
    removeIfEmpty(path)
  }
  return counts
}

/** Paths that a list has, if there is one: what an undo that was killed had brought back. */
function listedIn(path: string): Set<string> {
  const found = new Set<string>()
  if (!isThere(`${path}/${LIST_NAME}`)) return found
  whileHeld(path, held => readMergeList(held, entry => found.add(entry.path)))
  return found
}

/** Removes the directories in which nothing is left. */
function removeEmpty(directory: HeldDirectory): void {
  for (const name of readdirSync(directory.at('.'), { encoding: 'buffer' }).map(nameOf)) {
    if (lstatSync(fsPath(directory.at(name))).isDirectory() === false) continue
    const inner = directory.enter(name)
    try {
      removeEmpty(inner)
    } finally {
      inner.close()
    }
    removeIfEmpty(directory.at(name))
  }
}

function removeIfEmpty(path: string): void {
  try {
    rmdirSync(fsPath(path))
  } catch (error) {
    if (!['ENOTEMPTY', 'EEXIST', 'ENOENT'].includes(errnoOf(error) ?? '')) throw error
  }
}

function isThere(path: string | Buffer): boolean {
  return look(path) !== undefined
}

function look(path: string | Buffer): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false })
}
