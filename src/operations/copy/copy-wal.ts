import type { Context } from '../../context.js'
import { inOrder } from '../../image/ordered.js'
import type { SourceRoom } from '../../repository/types.js'
import type { WalArchive } from '../../repository/wal/types.js'
import { parseWalName } from '../../sources/postgres/wal-names.js'
import { walReader } from '../sealing/wal-seal-for.js'
import type { Survey } from '../survey.js'
import { readWalKeptFrom } from '../wal/wal-kept-from.js'
import type { WalSystem } from '../wal/wal-survey.js'
import { surveyWal } from '../wal/wal-survey.js'
import { inPlain } from './copy-keys.js'

/** Files under way: while one is written, the next ones are read. */
const WIDTH = 4

/** WAL files that a copy lacks, of one system, oldest first. */
export interface MissingWal {
  from: WalArchive
  names: string[]
}

/**
 * Which WAL a copy lacks: what its own retention would keep, which begins where its oldest base does, or where its last
 * prune let go. Histories are always copied: without them no timeline can be followed.
 * @param target undefined where it is still to be made
 * @param copied ids of the backups that are there
 */
export async function missingWal(
  context: Context,
  { origin, found }: { origin: SourceRoom; found: Survey },
  target: SourceRoom | undefined,
  copied: ReadonlySet<string>,
): Promise<MissingWal[]> {
  const { systems } = await surveyWal(origin, found, walReader(context, origin.repository))
  const keptFrom = target === undefined || systems.length === 0 ? undefined : await readWalKeptFrom(target)
  const missing: MissingWal[] = []
  for (const system of systems) {
    const there = new Set(await target?.wal(system.system).names())
    const from = keptFrom?.get(system.system) ?? oldestBase(system, copied)
    const names = system.files
      .filter(({ name, span }) => !there.has(name) && (span === null || (from !== null && span.to > from)))
      .map(({ name }) => name)
    if (names.length > 0) missing.push({ from: system.archive, names })
  }
  return missing
}

/** Where the log of the oldest base begins that is copied; null when none is. */
function oldestBase({ bases }: WalSystem, copied: ReadonlySet<string>): bigint | null {
  const starts = bases.filter(({ id }) => copied.has(id)).map(({ start }) => start)
  return starts.reduce<bigint | null>((least, start) => (least === null || start < least ? start : least), null)
}

/**
 * Copies WAL files as they are stored, oldest first, so that what is there after an interruption is without a gap.
 * @param sealed whether the copy is encrypted: then nothing goes there in plain but histories, which always are
 * @throws NexusError refused `wal_differs`, `copy_unencrypted`, damage; whatever reading, writing and signals throw
 */
export async function copyWal(
  context: Context,
  { from, names }: MissingWal,
  { target, sealed }: { target: SourceRoom; sealed: boolean },
  copied: (bytes: number) => void,
): Promise<void> {
  const to = target.wal(from.systemIdentifier)
  const read = inOrder(names, WIDTH, async name => {
    const isAllowed = !sealed || parseWalName(name)?.kind === 'history' || (await from.header(name)).encryption
    if (!isAllowed) throw inPlain(name, 'the log', 'the copy')
    return { name, bytes: await from.storedFile(name) }
  })
  for await (const { name, bytes } of read) {
    context.signal.throwIfAborted()
    await to.putStoredFile(name, bytes)
    copied(bytes.byteLength)
  }
}
