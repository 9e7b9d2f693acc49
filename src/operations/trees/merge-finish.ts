import { existsSync } from 'node:fs'
import type { Context } from '../../context.js'
import { RestoreProblems } from '../../image/tree/restore-problems.js'
import { type Forward, mergerOf, undoCommand, whileMoving } from './merge-forward.js'
import { withContinued } from './merge-home.js'
import { undoPasses } from './merge-undo.js'
import { ReplacedFiles } from './replaced-files.js'
import type { TreeRecord } from './tree-record.js'

/**
 * Finishes a merge, or the undo of one, that was killed after it had begun to move entries.
 *
 * @returns what to tell of it: the end of a sentence
 */
export async function finishMerge(context: Context, source: string, record: TreeRecord): Promise<string> {
  const { moves, into, rule = 'never' } = record
  const [first] = moves
  if (first === undefined || into === undefined) throw new Error('a record of a merge names its directory')
  const kept = new ReplacedFiles(first.previous, { again: true })
  const problems = new RestoreProblems()
  const forward: Forward = { source, record, target: into, rule, kept, problems }
  if (record.undoes === true) {
    await undoPasses(context, forward, withContinued(first.staged))
  } else if (existsSync(first.staged)) {
    const merger = mergerOf(context, forward)
    await whileMoving(first.staged, into, (from, to) => merger.merge(from, to))
  }
  if (existsSync(first.previous)) kept.reopen()
  kept.close('whole')
  for (const problem of problems.sentences()) context.warn(`${source}: ${problem}`)
  const undo = existsSync(first.previous) ? `; to undo it, run: ${undoCommand(source, into)}` : ''
  return `is complete now${undo}`
}
