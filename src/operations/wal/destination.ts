import type { EncryptionSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import type { SourceRoom } from '../../repository/types.js'
import type { WalArchive } from '../../repository/wal/types.js'
import type { ControlFile } from '../../sources/postgres/control-file.js'
import { isSegmentSize, segmentBeside } from '../../sources/postgres/wal-names.js'
import { walSealFor } from '../sealing/wal-seal-for.js'

/** Where a cluster's files go. */
export interface Destination {
  room: SourceRoom
  archive: WalArchive
  /** Of the data directory that they come from; undefined where there is none. */
  control: ControlFile | undefined
}

interface Wanted {
  systemIdentifier: string | undefined
  encryption: EncryptionSettings | undefined
  file: { name: string; plain: Uint8Array }
}

/**
 * Makes sure that the source is this system's; the first that archives into an unclaimed one claims it.
 * @param wanted.encryption what the configuration wants of the repository
 * @param wanted.systemIdentifier undefined when neither data directory nor file tells: then the claim does
 * @param wanted.file the first that is to be archived
 * @throws NexusError refused for another system's source, and `keys_missing` where it would be written in plain into a
 *   repository whose keys are gone; usage when nothing tells the system
 */
export async function enter(
  context: Context,
  room: SourceRoom,
  control: ControlFile | undefined,
  { systemIdentifier, encryption, file }: Wanted,
): Promise<Destination> {
  const known = await systemOf(room, systemIdentifier)
  const seal = await walSealFor(context, room.repository, encryption)
  const archive = room.wal(known, seal)
  if (seal.writing === null && !(await goesOn(archive, file))) await assertPlainIsMeant(room)
  const claim = { kind: 'postgres' as const, host: context.host, path: null, system_identifier: known }
  try {
    await room.enter(claim, { adopt: false, now: context.now() })
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'exists') throw error
    // Somebody else claimed it at the same instant: perhaps a backup of the same system.
    await room.enter(claim, { adopt: false, now: context.now() })
  }
  return { room, archive, control }
}

/** Whether a file follows one that lies there in plain, which it does nearly always. */
async function goesOn(archive: WalArchive, { name, plain }: Wanted['file']): Promise<boolean> {
  // The files that are no segments are small: their size says nothing of one.
  const before = isSegmentSize(plain.byteLength) ? segmentBeside(name, -1, plain.byteLength) : undefined
  return before !== undefined && (await archive.isPlain(before))
}

/** @throws NexusError refused `keys_missing` */
async function assertPlainIsMeant(room: SourceRoom): Promise<void> {
  const { assertKeysThere, hasPlain } = await import('../sealing/keys-there.js')
  if (!(await hasPlain(room))) await assertKeysThere(room.repository)
}

/** The system that a file goes to: as the data directory or the file says, else as the source's claim does. */
export async function systemOf(room: SourceRoom, systemIdentifier: string | undefined): Promise<string> {
  const known = systemIdentifier ?? (await room.claim())?.system_identifier
  if (typeof known === 'string') return known
  throw new NexusError('usage', 'no_data_directory', 'which system the file belongs to cannot be told', {
    hint: 'run it in the data directory, as PostgreSQL does',
  })
}
