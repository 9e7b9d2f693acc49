import { NexusError } from '../../errors.js'
import type { ListedProblem } from '../../operations/results.js'
import { counted, firstFew } from '../output/format.js'

/** The error of a command that saw damaged backups on its way; empty when it saw none. */
export function damagedBackups(problems: readonly ListedProblem[]): NexusError[] {
  const damaged = problems.filter(problem => problem.status === 'damaged')
  if (damaged.length === 0) return []
  const named = firstFew(damaged.map(({ source, id, problem }) => `${source}/${id} (${problem})`))
  return [
    new NexusError('damage', 'backup_damaged', `${counted(damaged.length, 'backup')} damaged: ${named}`, {
      hint: `'nexus-backup verify' says what else depends on it; it is never removed by itself`,
    }),
  ]
}
