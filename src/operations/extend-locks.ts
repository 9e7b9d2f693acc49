import type { Context } from '../context.js'
import type { Manifest } from '../repository/manifest.js'
import type { SourceRoom } from '../repository/types.js'
import type { LockReport } from './results.js'
import { baseOf } from './wal/wal-bases.js'
import { walFile } from './wal/wal-survey.js'

/**
 * Locks what a new backup depends on as long as itself: the chain, and of a cluster the log from the chain's full on.
 * As long as any backup of the chain is locked, so is then all the log that follows it, and every instant since stays
 * within reach: what was archived before the last backup of a chain is extended with it, and what comes later begins
 * with a lock that ends after that. Files of the log that belong to older chains keep the locks that those have.
 * @param chain of the new backup, or of several; empty for a full, whose log is only being written
 * @returns null where the store locks nothing
 */
export async function extendLocksOf(room: SourceRoom, chain: readonly Manifest[]): Promise<LockReport | null> {
  const until = room.lockEnd()
  if (until === undefined) return null
  const backups = await room.extendLocks([...new Set(chain.map(({ id }) => id))])
  return { until: until.toISOString(), backups, wal: await extendWalOf(room, chain) }
}

/**
 * Locks a new backup that is to be kept until a date, and what it depends on, until then; `forever` is none that a store
 * knows, so that is said.
 * @returns when the new backup's lock ends, ISO 8601 UTC
 */
export async function lockUntilKept(
  context: Pick<Context, 'warn'>,
  room: SourceRoom,
  { id, keep_until: kept }: Pick<Manifest, 'id' | 'keep_until'>,
  { chain, until }: { chain: readonly Manifest[]; until: string },
): Promise<string> {
  if (kept === null || (kept !== 'forever' && kept <= until)) return until
  if (kept === 'forever') {
    context.warn(
      `${room.name}: ${id} is kept for ever by prune, but the store locks it only until ${until}: each backup that depends on it extends that; a date instead of forever locks it until then`,
    )
    return until
  }
  await room.extendLocks([...chain.map(member => member.id), id], new Date(kept))
  return kept
}

async function extendWalOf(room: SourceRoom, chain: readonly Manifest[]): Promise<number> {
  const bases = chain.flatMap(manifest => baseOf(manifest, true) ?? [])
  let extended = 0
  for (const system of new Set(bases.map(base => base.system))) {
    const own = bases.filter(base => base.system === system)
    const [first] = own.toSorted((a, b) => (a.start < b.start ? -1 : 1))
    if (first === undefined) continue
    const archive = room.wal(system)
    const files = (await archive.names()).map(name => walFile(name, first.segmentBytes))
    // Histories as well: without them no timeline can be followed.
    const needed = files.filter(({ span }) => span === null || span.to > first.start)
    extended += await archive.extendLocks(needed.map(({ name }) => name))
  }
  return extended
}
