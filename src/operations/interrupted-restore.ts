import { existsSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import type { Context } from '../context.js'
import { NexusError } from '../errors.js'
import { type RestoreRecord, readRecord, removeRecord } from '../sources/sqlite/restore-record.js'
import { carryOutMoves, dropPrevious, existingSidecars } from '../sources/sqlite/swap.js'
import { startService } from './service.js'

/**
 * Finishes or undoes what a killed restore left beside a database, and starts the service that it had stopped. A swap
 * that has begun is finished, since its new database was proven; anything earlier is undone.
 *
 * @throws NexusError `locked` while that restore still runs
 */
export async function finishInterruptedRestore(
  context: Context,
  source: { name: string; path: string },
): Promise<void> {
  const target = existsSync(source.path) ? realpathSync(source.path) : source.path
  const record = readRecord(target)
  if (record === null) return
  if (startOf(record.pid) === record.started) {
    throw new NexusError('locked', 'restore_running', `${source.name} is being restored by process ${record.pid}`, {
      hint: 'run again when it has ended',
    })
  }
  const finished = await settle(record)
  if (record.service !== null) await startService(record.service)
  removeRecord(target)
  const service = record.service === null ? '' : `; ${record.service} was started again`
  const state = finished ? 'had been replaced and that is complete now' : 'had not been replaced and is as it was'
  context.warn(`${source.name}: an earlier restore was killed: the database ${state}${service}`)
}

async function settle(record: RestoreRecord): Promise<boolean> {
  if (record.swap !== null) {
    await carryOutMoves(record.swap.moves, record.swap.remove)
    return true
  }
  if (!existsSync(record.staged)) return existsSync(record.previous)
  dropPrevious(record.previous)
  if (record.scratch)
    for (const name of [record.staged, ...existingSidecars(record.staged)]) rmSync(name, { force: true })
  return false
}

/** When a process started, in the kernel's own count, so that a reused pid is not taken for it; '' when it is gone. */
export function startOf(pid: number): string {
  try {
    // The command's name in parentheses may hold anything, so count from behind it: field 22 is the start time.
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    return ''
  }
}
