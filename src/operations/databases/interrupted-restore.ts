import { existsSync } from 'node:fs'
import type { Context } from '../../context.js'
import { foreignRecord, foreignRecordWarning, removeDeadDrafts, removeRecord } from '../../sources/crash-record.js'
import { wasOverwritten } from '../../sources/sqlite/overwrite.js'
import { type RestoreRecord, readRecord, realTarget } from '../../sources/sqlite/restore-record.js'
import {
  carryOutMoves,
  dropEmptySidecars,
  dropPrevious,
  dropStaged,
  takeBackRename,
} from '../../sources/sqlite/swap.js'
import { leaveStaging } from '../../system/staging.js'
import { isAlive } from '../restoring-process.js'
import { restartStopped } from '../service.js'
import { waitForRestore } from '../waiting.js'

/**
 * Waits for a restore that runs, then finishes or undoes what a killed one left beside a database, and starts the service that it had stopped. A swap
 * that has begun is finished, since its new database was proven; anything earlier is undone.
 *
 * @param source its configured unit is the only one that is ever started
 * @returns what came of that restore
 * @throws NexusError `locked` when a restore still runs after the seconds that may be waited
 */
export async function finishInterruptedDatabaseRestore(
  context: Context,
  source: { name: string; path: string; service: string | null },
): Promise<'none' | 'finished' | 'undone'> {
  const target = realTarget(source.path)
  removeDeadDrafts(target, pid => isAlive(pid))
  await waitForRestore(context, source.name, () => readRecord(target))
  const record = readRecord(target)
  if (record === null) {
    const foreign = foreignRecord(target)
    if (foreign !== null) context.warn(`${source.name}: ${foreignRecordWarning(target, foreign)}`)
    return 'none'
  }
  const finished = await settle(record)
  const service = await restartStopped(source.service, record.service)
  removeRecord(target)
  const state = finished ? 'had been replaced and that is complete now' : 'had not been replaced and is as it was'
  context.warn(`${source.name}: an earlier restore was killed: the database ${state}${service}`)
  return finished ? 'finished' : 'undone'
}

async function settle(record: RestoreRecord): Promise<boolean> {
  const finished = await settled(record)
  leaveStaging(record.staged)
  return finished
}

async function settled(record: RestoreRecord): Promise<boolean> {
  const { swap, staged, previous } = record
  if (swap !== null) {
    await carryOutMoves(swap.moves, swap.remove)
    return true
  }
  if (record.overwrites === true) {
    const finished = wasOverwritten(record)
    if (!finished) dropPrevious(previous)
    if (finished || record.scratch) dropStaged(staged)
    return finished
  }
  // Killed while the rename was being undone.
  await takeBackRename(record)
  if (existsSync(staged)) {
    dropPrevious(previous)
    if (record.scratch) dropStaged(staged)
    return false
  }
  // Killed before there was anything staged, or after it had been moved: then the replaced database has its name.
  if (record.scratch) dropStaged(staged)
  if (!existsSync(previous)) return false
  dropEmptySidecars(previous)
  dropEmptySidecars(staged)
  return true
}
