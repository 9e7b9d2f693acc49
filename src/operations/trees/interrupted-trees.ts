import { existsSync } from 'node:fs'
import type { Context } from '../../context.js'
import { removeDeadDrafts } from '../../sources/crash-record.js'
import { realTarget } from '../../sources/sqlite/restore-record.js'
import { isAlive } from '../restoring-process.js'
import { startService } from '../service.js'
import { waitForRestore } from '../waiting.js'
import { readTreeRecord, removeTreeRecord, type TreeRecord } from './tree-record.js'
import { dropScratch, moveBack, moveForward } from './tree-swap.js'

/**
 * Waits for a restore that runs, then finishes or undoes what a killed one left beside directories, and starts the service that it had stopped. What had
 * begun to change places is finished, since it was proven; anything earlier is undone.
 *
 * @param source name, and the configured paths of its roots or its data directory
 * @returns what came of that restore
 * @throws NexusError `locked` when a restore still runs after the seconds that may be waited
 */
export async function finishInterruptedTrees(
  context: Context,
  source: { name: string; paths: readonly string[] },
): Promise<'none' | 'finished' | 'undone'> {
  const outcomes: ('finished' | 'undone')[] = []
  for (const target of new Set(source.paths.map(path => realTarget(path)))) {
    removeDeadDrafts(target, pid => isAlive(pid))
    await waitForRestore(context, source.name, () => readTreeRecord(target))
    const record = readTreeRecord(target)
    if (record !== null) outcomes.push(await settle(context, source.name, record))
  }
  return outcomes.includes('undone') ? 'undone' : (outcomes[0] ?? 'none')
}

async function settle(context: Context, name: string, record: TreeRecord): Promise<'finished' | 'undone'> {
  const { phase, moves, service } = record
  if (phase === 'forward') await moveForward(record)
  if (phase === 'back') await moveBack(record)
  dropScratch(record)
  if (service !== null) await startService(service)
  removeTreeRecord(record)
  const targets = moves.map(({ target }) => target).filter(target => existsSync(target))
  if (targets.length === 0) {
    context.warn(`${name}: an earlier restore was killed: what it had made beside ${record.home} is removed`)
    return 'undone'
  }
  const state =
    phase === 'forward' ? 'had been replaced, and that is complete now' : 'had not been replaced and is as it was'
  const started = service === null ? '' : `; ${service} was started again`
  context.warn(`${name}: an earlier restore was killed: ${targets.join(', ')} ${state}${started}`)
  return phase === 'forward' ? 'finished' : 'undone'
}
