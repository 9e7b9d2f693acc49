import { existsSync, realpathSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type { Context } from '../context.js'
import { assertUnused } from '../sources/sqlite/fold.js'
import { type RestoreRecord, removeRecord, writeRecord } from '../sources/sqlite/restore-record.js'
import { dropPrevious, type Move, swapIn } from '../sources/sqlite/swap.js'
import { startOf } from './interrupted-restore.js'
import { startService, stopService } from './service.js'

export interface Placement {
  /** The database's real path. */
  target: string
  /** The file that takes its place. */
  staged: string
  /** Whether `staged` is a scratch file, to be removed when nothing comes of it. */
  scratch: boolean
  /** Sidecars that come with it. */
  sidecars: Move[]
  previous: string
  service: string | null
}

/**
 * Prepares a file, proves it, and puts it in a database's place; the service is stopped only for the swap itself. A
 * record beside the database tells the next run what to do when this one is killed.
 *
 * @param prepare makes and proves the staged file
 * @returns where the replaced database lies, or null when there was none
 */
export async function putInPlace(
  context: Context,
  placement: Placement,
  prepare: () => Promise<void>,
): Promise<string | null> {
  const { target, staged, previous, service } = placement
  if (service === null) assertUnused(target, context.warn)
  const record: RestoreRecord = {
    format: 1,
    pid: process.pid,
    started: startOf(process.pid),
    target,
    staged,
    scratch: placement.scratch,
    previous,
    service: null,
    swap: null,
  }
  await writeRecord(record)
  let begun = false
  try {
    await prepare()
    context.signal.throwIfAborted()
    if (service !== null) {
      await writeRecord({ ...record, service })
      await stopService(service)
    }
    try {
      assertUnused(target, context.warn)
      const willMove = async (moves: Move[], remove: string[]) => {
        await writeRecord({ ...record, service, swap: { moves, remove } })
        begun = true
      }
      const replaced = await swapIn({
        target,
        staged,
        sidecars: placement.sidecars,
        previous,
        willMove,
        warn: context.warn,
      })
      return replaced ? previous : null
    } finally {
      if (service !== null) await startService(service)
    }
  } catch (error) {
    // Untouched still: what was set aside is a second name or a copy of what stands in its place.
    if (!begun && existsSync(staged)) dropPrevious(previous)
    throw error
  } finally {
    if (!begun || !existsSync(staged)) removeRecord(target)
  }
}

/** The real path of a database that may not exist; its directory must. */
export function realTarget(path: string): string {
  return existsSync(path) ? realpathSync(path) : join(realpathSync(dirname(path)), basename(path))
}

const ASIDE = '.before-restore-'

/** Name under which a database is set aside at an instant. */
export function previousName(target: string, now: Date): string {
  return `${target}${ASIDE}${now.toISOString().replaceAll('-', '').replaceAll(':', '')}`
}

/** Whether a file name is that of a set-aside of the database. */
export function isPrevious(target: string, name: string): boolean {
  const prefix = `${basename(target)}${ASIDE}`
  return name.startsWith(prefix) && /^\d{8}T\d{6}\.\d{3}Z$/.test(name.slice(prefix.length))
}
