import { NexusError } from '../../errors.js'
import type { WalArchive } from '../../repository/wal/types.js'
import { parseTimelineHistory } from '../../sources/postgres/timeline-history.js'
import { checkSegment } from '../../sources/postgres/wal-header.js'
import { parseWalName } from '../../sources/postgres/wal-names.js'

/**
 * Reads one archived file and compares all that it says of itself: digests, name and system in its head, and, of a
 * segment, those in its first page; a history must be one.
 * @throws NexusError damage, or not-found when it is gone
 */
export async function checkWalFile(archive: WalArchive, name: string, system: string): Promise<void> {
  const { plain } = await archive.read(name)
  const parsed = parseWalName(name)
  if (parsed?.kind === 'history') parseTimelineHistory(plain.toString('utf8'), parsed.timeline)
  if (parsed?.kind !== 'segment' && parsed?.kind !== 'partial') return
  const { systemIdentifier } = segmentHeader(name, plain)
  if (systemIdentifier === system) return
  throw new NexusError('damage', 'wal_damaged', `its content is of system ${systemIdentifier}`)
}

/** What archiving would refuse is damage where it is stored. */
function segmentHeader(name: string, plain: Buffer): { systemIdentifier: string } {
  try {
    return checkSegment(name, plain, undefined)
  } catch (cause) {
    if (!(cause instanceof NexusError) || cause.kind !== 'refused') throw cause
    throw new NexusError('damage', 'wal_damaged', cause.message, { cause })
  }
}
