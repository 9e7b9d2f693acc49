import { NexusError } from '../../errors.js'
import type { WalFileHeader } from './wal-file.js'

/** A file that is not there is not in the archive, in the words of the log. */
export async function archived<T>(name: string, opening: Promise<T>): Promise<T> {
  try {
    return await opening
  } catch (error) {
    if (!(error instanceof NexusError) || error.kind !== 'not-found') throw error
    throw new NexusError('not-found', 'wal_not_archived', `${name} is not in the archive`, { cause: error.cause })
  }
}

/** Undefined for what is not in the archive. */
export async function orNone<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof NexusError && error.code === 'wal_not_archived') return undefined
    throw error
  }
}

/** What is there cannot be compared: the operator decides, for nothing is ever overwritten. */
export async function damageInArchive<T>(name: string, reading: () => Promise<T>): Promise<T> {
  try {
    return await reading()
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'wal_damaged') throw error
    throw new NexusError('damage', 'wal_damaged', `${name} is in the archive already, but ${error.message}`, {
      hint: 'move the damaged file out of the repository; the server tries again within a minute and stores the good one',
      cause: error,
    })
  }
}

/** Without a key of ours nobody can tell, and what cannot be told is never taken for a success. */
export function unknowable(name: string, where: string, cause: NexusError): NexusError {
  return new NexusError(
    'refused',
    'wal_identity_unknown',
    `${name} is in the archive already, encrypted, and whether it is the same cannot be told here: ${where}`,
    {
      hint: 'let the user of the server read the state directory in which it was archived, or a key file (nexus-backup-pitr(1), encryption)',
      cause,
    },
  )
}

/** Another content under the same name, which stays. */
export function differs(name: string, where: string, header: WalFileHeader): NexusError {
  return new NexusError(
    'refused',
    'wal_differs',
    `${name} is in the archive already with another content (archived ${header.archived_at}): ${where}`,
    {
      hint: 'nothing was overwritten; two servers write as one system, or a restored copy archives: give one of them another source with --source, or switch its archive_mode off',
    },
  )
}

/** A file that nobody of ours has archived: recovery must not go on with it, nor end before it as if it were not there. */
export function notOurs(where: string, problem: string): NexusError {
  return new NexusError('damage', 'wal_untrusted', `${where} is not ours: it ${problem}`, {
    hint: 'recovery stops before it; where a host of yours signed it for which nobody has vouched, let that host in: nexus-backup keys trust KEY; else somebody may have written into the repository: nexus-backup-recovery(7), suspected intruder; a restore with --untrusted takes it all the same',
  })
}
