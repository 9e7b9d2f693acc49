import { basename, dirname } from 'node:path'
import type { Context } from '../../context.js'
import type { RestoreProblems } from '../../image/tree/restore-problems.js'
import { exchanged, HeldDirectory } from '../../system/held-directory.js'
import { effectiveUser } from '../../system/ownership.js'
import type { OverwriteRule } from '../requests.js'
import { shellQuoted } from '../shell.js'
import { HiddenNames } from './hidden-names.js'
import { EntryMerger } from './merge-entries.js'
import type { ReplacedFiles } from './replaced-files.js'
import { replaceTreeRecord, type TreeRecord } from './tree-record.js'

/** Everything that is staged is proven, and moves. */
export interface Forward {
  /** The source's name, for messages. */
  source: string
  record: TreeRecord
  /** The directory that is merged into. */
  target: string
  rule: OverwriteRule
  kept: ReplacedFiles
  problems: RestoreProblems
}

/** A merger of what is staged, or of what an undo brings back. */
export function mergerOf(context: Context, { source, record, target, rule, kept, problems }: Forward): EntryMerger {
  const unseen = new Set<string>()
  return new EntryMerger({
    rule,
    kept,
    problems,
    signal: context.signal,
    progress: done => context.progress({ phase: `${source}: merging`, done, total: undefined, unit: 'items' }),
    hidden: hiddenNames(record, target),
    disposable: record.disposable,
    unseen: path => {
      if (unseen.size === 0)
        context.warn(`${source}: other users' processes could not be looked at: make sure none of them used ${path}`)
      unseen.add(path)
    },
  })
}

/** Holds what entries are moved between while `work` goes on. Its errors name the directory by its path. */
export async function whileMoving(
  staged: string,
  target: string,
  work: (from: HeldDirectory, to: HeldDirectory) => Promise<void>,
): Promise<void> {
  const [from, to] = [HeldDirectory.open(staged), HeldDirectory.open(target)]
  try {
    if (from.stat().uid !== effectiveUser()) throw exchanged(from.path)
    await work(from, to)
  } catch (error) {
    to.nameIn(error)
    throw error
  } finally {
    from.close()
    to.close()
  }
}

/** The command that undoes the last merge into a directory. */
export function undoCommand(source: string, target: string): string {
  return `nexus-backup restore ${source} --rollback --to ${shellQuoted(target)}`
}

/** Notes in the record where a killed run may leave something. */
function hiddenNames(record: TreeRecord, target: string): HiddenNames {
  const above = target === dirname(record.home) ? '' : `${basename(target)}/`
  return new HiddenNames(({ directory, mark }) => {
    replaceTreeRecord({ ...record, hidden: { directory: `${above}${directory}`, mark } })
  })
}
