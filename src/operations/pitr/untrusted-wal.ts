import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import type { SourceRoom } from '../../repository/types.js'
import { orNone } from '../../repository/wal/wal-refusals.js'
import type { ArchivingState } from '../../sources/postgres/archiving.js'
import type { Concern } from '../results.js'
import { walReader } from '../sealing/wal-seal-for.js'
import { shellQuoted } from '../shell.js'

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
  const signer = typeof header === 'string' ? undefined : header.signer
  const repository = shellQuoted(room.repository.location)
  const trust = `nexus-backup keys trust ${signer} --repo ${repository} --key-file FILE`
  return [
    {
      source: room.name,
      code: 'wal_untrusted',
      message: `${room.name}: the WAL that was archived last, ${lastArchived.name}, ${problem}: recovery stops before it`,
      hint:
        signer === undefined
          ? `see what else is not ours: nexus-backup verify ${shellQuoted(room.name)} --repo ${repository}`
          : `if the server's user signs with it (its state directory has the key), let it in, with a key that opens the repository: ${trust}`,
    },
  ]
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
