import { existsSync } from 'node:fs'
import type { Context } from '../../context.js'
import { foreignRecord, foreignRecordWarning, removeDeadDrafts } from '../../sources/crash-record.js'
import { realTarget } from '../../sources/sqlite/restore-record.js'
import { isAlive } from '../restoring-process.js'
import { restartStopped } from '../service.js'
import { waitForRestore } from '../waiting.js'
import { removeHidden } from './hidden-names.js'
import { finishMerge } from './merge-finish.js'
import { readTreeRecord, removeTreeRecord, type TreeRecord } from './tree-record.js'
import { dropScratch, moveBack, moveForward } from './tree-swap.js'

/**
 * Waits for a restore that runs, then finishes or undoes what a killed one left beside directories, and starts the service that it had stopped. What had
 * begun to change places is finished, since it was proven; anything earlier is undone.
 *
 * @param source name, the configured paths of its roots or its data directory, and its unit, the only one ever started
 * @returns what came of that restore
 * @throws NexusError `locked` when a restore still runs after the seconds that may be waited
 */
export async function finishInterruptedTrees(
  context: Context,
  source: { name: string; paths: readonly string[]; service: string | null },
): Promise<'none' | 'finished' | 'undone'> {
  const outcomes: ('finished' | 'undone')[] = []
  for (const target of new Set(source.paths.map(path => realTarget(path)))) {
    removeDeadDrafts(target, pid => isAlive(pid))
    await waitForRestore(context, source.name, () => readTreeRecord(target))
    const record = readTreeRecord(target)
    if (record !== null) outcomes.push(await settle(context, source, record))
    const foreign = foreignRecord(target)
    if (foreign !== null) context.warn(`${source.name}: ${foreignRecordWarning(target, foreign)}`)
  }
  return outcomes.includes('undone') ? 'undone' : (outcomes[0] ?? 'none')
}

async function settle(
  context: Context,
  { name, service }: { name: string; service: string | null },
  record: TreeRecord,
): Promise<'finished' | 'undone'> {
  const { phase, moves } = record
  const isMoving = record.merge === true && record.into !== undefined && phase === 'forward'
  if (phase === 'forward' && record.merge !== true) await moveForward(record)
  if (phase === 'back') await moveBack(record)
  const unreached = removeHidden(record)
  if (unreached !== null) {
    context.warn(
      `${name}: an earlier merge was killed while it copied to ${unreached}, which is not there now: remove it`,
    )
  }
  const merged = isMoving ? await finishMerge(context, name, record) : null
  dropScratch(record)
  const started = await restartStopped(service, record.service)
  removeTreeRecord(record)
  if (merged !== null) {
    const what = record.undoes === true ? 'the undo of a merge into' : 'an earlier merge into'
    context.warn(`${name}: ${what} ${record.into} was killed: it ${merged}`)
    return 'finished'
  }
  if (record.merge === true) {
    const [kept] = moves.filter(({ previous }) => existsSync(previous))
    const where =
      kept === undefined ? 'nothing there had been replaced' : `what it had replaced is kept in ${kept.previous}`
    context.warn(`${name}: an earlier merge into ${record.home} was killed: it may be there in part, and ${where}`)
    return 'undone'
  }
  const targets = moves.map(({ target }) => target).filter(target => existsSync(target))
  if (targets.length === 0) {
    context.warn(`${name}: an earlier restore was killed: what it had made beside ${record.home} is removed${started}`)
    return 'undone'
  }
  const state =
    phase === 'forward' ? 'had been replaced, and that is complete now' : 'had not been replaced and is as it was'
  context.warn(`${name}: an earlier restore was killed: ${targets.join(', ')} ${state}${started}`)
  return phase === 'forward' ? 'finished' : 'undone'
}
