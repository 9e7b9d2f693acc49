import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { PostgresSourceSettings, Settings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { errnoOf, messageOf, NexusError } from '../../errors.js'
import { parseWalName } from '../../sources/postgres/wal-names.js'
import type { Destination } from './destination.js'
import { removeFromSpool } from './note.js'
import { openSpool } from './spool.js'
import { WalCopy } from './wal-copy.js'

/** No further file is begun after this: the server waits for the call. */
const MOST_MS = 10_000
/** One that takes longer is given up for now, and tried again after the pause. */
const PATIENCE_MS = 30_000
/** A copy that failed is left alone for so long, that archiving goes on meanwhile. */
const PAUSE_MS = 5 * 60_000

/** The copies that archived WAL goes to, and whether the server waits for that. */
export interface ArchiveCopies {
  mode: 'sync' | 'async'
  copies: readonly WalCopy[]
}

/** Undefined for a source whose copies are made by `copy` alone. */
export function copiesOf(
  context: Context,
  settings: Settings,
  { room, archive }: Destination,
): ArchiveCopies | undefined {
  const source = settings.sources.find(
    (one): one is PostgresSourceSettings => one.kind === 'postgres' && one.name === room.name,
  )
  if (source?.walCopies === undefined || source.copies.length === 0) return undefined
  const copies = source.copies.map(({ repository }) => new WalCopy(context, room, archive, repository))
  return { mode: source.walCopies, copies }
}

/**
 * Brings a file to every copy before the server may forget it.
 *
 * @returns where it lies on this machine
 * @throws NexusError of the first copy that does not take it; the others have it all the same
 */
export async function copyNow({ mode, copies }: ArchiveCopies, name: string): Promise<string[]> {
  if (mode !== 'sync') return []
  const results = await Promise.allSettled(
    copies.map(async copy => {
      await copy.put(name)
      return copy.localPath(name)
    }),
  )
  for (const [at, result] of results.entries()) {
    if (result.status === 'rejected') throw notCopied(name, copies[at]?.repository.path ?? '', result.reason)
  }
  return results.flatMap(result => (result.status === 'fulfilled' ? (result.value ?? []) : []))
}

/**
 * Brings to each copy what it lacks of the timeline of a file, oldest first, as far as the time allows; the next call goes on.
 * A copy that is away is warned of and left alone for a while: archiving itself never fails for it.
 *
 * @param path of the file that was asked for
 * @param names that this call has archived, and so what a copy without any WAL begins with
 */
export async function catchUp(
  context: Context,
  { mode, copies }: ArchiveCopies,
  { archive }: Destination,
  { path, names }: { path: string; names: readonly string[] },
): Promise<void> {
  if (mode !== 'async') return
  const spool = openSpool(dirname(path))
  const end = context.now().getTime() + MOST_MS
  for (const copy of copies) {
    const note = `copy-${copy.repository.name}.away`
    if (spool !== undefined && isPausing(join(spool, note), context.now())) continue
    try {
      for (const name of await behind(copy, archive, names)) {
        if (context.signal.aborted || context.now().getTime() > end) break
        await inTime(copy.put(name), copy.repository.path)
      }
      if (spool !== undefined) removeFromSpool(spool, [note])
    } catch (error) {
      context.signal.throwIfAborted()
      const said = `${context.now().toISOString()} ${messageOf(error)}\n`
      if (spool !== undefined) writeFileSync(join(spool, note), said, { mode: 0o600 })
      context.warn(`WAL is not copied to ${copy.repository.path} for now: ${messageOf(error)}`)
    }
  }
}

/** Of the timelines that were written, what a copy has not: after its last segment, for what is missing before is `copy`'s. */
async function behind(copy: WalCopy, archive: Destination['archive'], names: readonly string[]): Promise<string[]> {
  const wanted = new Set(names)
  for (const timeline of new Set(names.map(name => parseWalName(name)?.timeline ?? 0))) {
    const there = await inTime(copy.names(timeline), copy.repository.path)
    const last = there.findLast(name => parseWalName(name)?.kind === 'segment')
    const had = new Set(there)
    for (const name of had) wanted.delete(name)
    if (last === undefined) continue
    for (const name of await archive.names(timeline)) {
      if ((name > last || name.endsWith('.history')) && !had.has(name)) wanted.add(name)
    }
  }
  return [...wanted].sort()
}

async function inTime<T>(work: Promise<T>, where: string): Promise<T> {
  work.catch(() => {})
  const given = new AbortController()
  const late = pause(PATIENCE_MS, undefined, { signal: given.signal }).then(() => {
    throw new NexusError('failed', 'copy_slow', `${where} does not answer within ${PATIENCE_MS / 1000} seconds`, {
      hint: 'it is tried again with a later segment',
    })
  })
  late.catch(() => {})
  try {
    return await Promise.race([work, late])
  } finally {
    given.abort()
  }
}

/** The note begins with the time at which the copy failed. */
function isPausing(path: string, now: Date): boolean {
  try {
    const failedAt = Date.parse(readFileSync(path, 'utf8').split(' ')[0] ?? '')
    return Math.abs(now.getTime() - failedAt) < PAUSE_MS
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false
  }
}

function notCopied(name: string, where: string, cause: unknown): unknown {
  if (!(cause instanceof NexusError)) return cause
  const message = `${name} is archived, and its copy in ${where} is not made: ${cause.message}`
  const hint = cause.hint === undefined ? '' : `${cause.hint}; `
  return new NexusError(cause.kind, cause.code, message, {
    hint: `${hint}the server goes on when the copy takes it, or with wal_copies: async`,
    cause,
  })
}
