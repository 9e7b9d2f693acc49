import type { Context } from '../context.js'
import type { Journal } from '../journal/types.js'
import { copySource, previewCopy } from './copy/copy-source.js'
import { failureOf } from './failure.js'
import type { CopyRequest } from './requests.js'
import type { CopyResult } from './results.js'

/**
 * Brings repositories up to date with others. Nothing is ever removed there because it is gone here. One that fails does
 * not stop the others, and is caught up with the next time.
 */
export async function copy(context: Context, journal: Journal, request: CopyRequest): Promise<CopyResult> {
  const { tasks, init, dryRun } = request
  const result: CopyResult = { command: 'copy', dry_run: dryRun, copies: [], failures: [] }
  for (const task of tasks) {
    context.signal.throwIfAborted()
    try {
      const report = dryRun ? await previewCopy(context, task, init) : await copySource(context, journal, task, init)
      result.copies.push(report)
    } catch (error) {
      if (context.signal.aborted) throw error
      result.failures.push({ ...failureOf(task.source, error), to: task.to.path })
    }
  }
  return result
}
