import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import type { SourceRoom } from '../../repository/types.js'
import { isWalSignedBy, type WalFileHeader } from '../../repository/wal/wal-file.js'
import { orNone } from '../../repository/wal/wal-refusals.js'
import type { ArchivingState } from '../../sources/postgres/archiving.js'
import type { Concern } from '../results.js'
import { walReader } from '../sealing/wal-seal-for.js'
import { shellQuoted } from '../shell.js'
import { keyringOf } from '../trust/keyring-of.js'
import { letIn } from '../trust/let-in.js'

/**
 * Looks whether a recovery would take what the server archives into an encrypted repository: the file that it archived last
 * tells. A server's user with a state directory of its own signs with a key that nobody knows, and that would show only when
 * the WAL is needed.
 * A file that is damaged is of concern too, and never an error: the backup is made.
 */
export async function untrustedWalConcern(
  context: Context,
  room: SourceRoom,
  { lastArchived, systemIdentifier }: Pick<ArchivingState, 'lastArchived' | 'systemIdentifier'>,
): Promise<Concern[]> {
  if (lastArchived === null) return []
  const reader = walReader(context, room.repository)
  // It may have gone to another repository, or have been archived before this one was made.
  const header = await orDamage(orNone(room.wal(systemIdentifier, reader).header(lastArchived.name)))
  if (header === undefined) return []
  const problem =
    typeof header === 'string' ? header : await reader.judge?.({ source: room.name, header, hasKeys: async () => true })
  if (problem === undefined) return []
  return [
    {
      source: room.name,
      code: 'wal_untrusted',
      message: `${room.name}: the WAL that was archived last, ${lastArchived.name}, ${problem}: recovery stops before it`,
      hint: typeof header === 'string' ? seeAll(room) : await hintFor(context, room, header),
    },
  ]
}

/** What helps against a file that is not ours: only a key whose signature holds can be that of the server's user. */
async function hintFor(context: Context, room: SourceRoom, header: WalFileHeader): Promise<string> {
  const { repository, name: source } = room
  const { signer } = header
  if (signer === undefined) return seeAll(room)
  const keyring = await keyringOf(context, repository)
  const signed = { signer, source, epoch: header.encryption?.epoch }
  const signature = await keyring.judge(signed, host => isWalSignedBy(header, host.signing_key))
  if (signature.trust !== 'stranger' || signature.sealedTo !== undefined) return seeAll(room)
  const { remedy } = await letIn(keyring, repository, { signer, source, whose: "the server's user" })
  return `if the server's user signs with it (its state directory has the key): ${remedy}`
}

function seeAll({ name, repository: { location } }: SourceRoom): string {
  return `see what else is not ours: nexus-backup verify ${shellQuoted(name)} --repo ${shellQuoted(location)}`
}

/** What is wrong with a damaged file, as the rest of a sentence. */
async function orDamage<T>(reading: Promise<T>): Promise<T | string> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'damage') return `is damaged: ${error.message}`
    throw error
  }
}
