import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { removeRecord } from '../../sources/crash-record.js'
import { namingFullDisk } from '../../sources/sqlite/disk-full.js'
import { assertUnused } from '../../sources/sqlite/fold.js'
import { assertOnlyName } from '../../sources/sqlite/other-names.js'
import { createRecord, type RestoreRecord, replaceRecord } from '../../sources/sqlite/restore-record.js'
import { dropPrevious, dropStaged, type Move, swapIn } from '../../sources/sqlite/swap.js'
import { thisProcess } from '../restoring-process.js'
import { withServiceStopped } from '../service.js'
import { waitForBackups } from './backups-reading.js'
import { finishInterruptedDatabaseRestore } from './interrupted-restore.js'

export interface Placement {
  /** The source's name, for messages. */
  source: string
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
  /** Whether a database whose file has other names may be replaced. */
  allowOtherNames: boolean
  /** Gets a sentence for each owner, group or mode that could not be kept. */
  problems: string[]
}

/**
 * Prepares a file, proves it, and puts it in a database's place; the service is stopped only for the swap itself. A
 * record beside the database tells the next run what to do when this one is killed.
 *
 * @param prepare makes and proves the staged file
 * @returns where the replaced database lies, or null when there was none
 */
export function putInPlace(
  context: Context,
  placement: Placement,
  prepare: () => Promise<void>,
): Promise<string | null> {
  return namingFullDisk([dirname(placement.target)], () => carryOut(context, placement, prepare))
}

async function carryOut(context: Context, placement: Placement, prepare: () => Promise<void>): Promise<string | null> {
  const { source, target, staged, sidecars, previous, service } = placement
  await waitForBackups(context, source, target)
  if (service === null) assertUnused(target, context.warn)
  if (existsSync(target)) assertOnlyName(target, { allowed: placement.allowOtherNames, warn: context.warn })
  assertFree(previous)
  const record: RestoreRecord = {
    format: 1,
    ...thisProcess(),
    target,
    staged,
    scratch: placement.scratch,
    previous,
    service: null,
    swap: null,
  }
  await claim(context, source, { record, service })
  const progress: { state: 'untouched' | 'begun' | 'done' } = { state: 'untouched' }
  const willMove = async (moves: Move[], remove: string[]) => {
    replaceRecord({ ...record, service, swap: { moves, remove } })
    progress.state = 'begun'
  }
  const willOverwrite = async () => {
    replaceRecord({ ...record, service, overwrites: true })
    progress.state = 'begun'
  }
  const swap = async () => {
    context.signal.throwIfAborted()
    assertUnused(target, context.warn)
    const replaced = await swapIn({
      ...{ target, staged, sidecars, previous, willMove, willOverwrite },
      disposable: placement.scratch,
      asItWas: () => {
        progress.state = 'untouched'
      },
      warn: context.warn,
      notKept: (path, lost) => placement.problems.push(...notKept(path, lost)),
    })
    progress.state = 'done'
    return replaced ? previous : null
  }
  try {
    await prepare()
    context.signal.throwIfAborted()
    // One that had looked for our record just before it was there; the service must not be down for it.
    await waitForBackups(context, source, target)
    if (service !== null) replaceRecord({ ...record, service })
    return await withServiceStopped(service, swap, aside => {
      return `${target} is replaced${aside === null ? '' : ` and what stood there lies at ${aside}`}`
    })
  } catch (error) {
    if (progress.state === 'untouched' && existsSync(staged)) {
      // What was set aside is a second name or a copy of what stands in its place.
      dropPrevious(previous)
      if (placement.scratch) dropStaged(staged)
    }
    throw error
  } finally {
    // A swap that stopped half-way is finished by the next run.
    if (progress.state !== 'begun') removeRecord(target)
  }
}

/** Writes the record down; another restore may have begun since this one looked, and is waited for in its turn. */
async function claim(
  context: Context,
  source: string,
  { record, service }: { record: RestoreRecord; service: string | null },
): Promise<void> {
  for (;;) {
    try {
      return createRecord(record)
    } catch (error) {
      if (!(error instanceof NexusError) || error.code !== 'restore_running') throw error
      await finishInterruptedDatabaseRestore(context, { name: source, path: record.target, service })
    }
  }
}

/** A sentence of what could not be kept of a file; none where all was. */
export function notKept(path: string, lost: readonly string[]): string[] {
  return lost.length === 0 ? [] : [`${path} could not be given ${lost.join(' and ')}`]
}

/** Nothing that a failing restore takes back may be of an earlier one. */
function assertFree(previous: string): void {
  if (!existsSync(previous)) return
  throw new NexusError('refused', 'set_aside_exists', `${previous} exists already and is never overwritten`, {
    hint: 'run it again',
  })
}
