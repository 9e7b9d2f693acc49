import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { keyFiles } from '../../repository/keys/key-files.js'
import { copiesDirectory, firstFile, keyFileLimit, recoveryDirectory } from '../../repository/keys/key-layout.js'
import { readOwnEpochs } from '../../repository/keys/key-room.js'
import type { Storage } from '../../repository/storage/storage.js'
import type { Repository } from '../../repository/types.js'
import { renewRecoveryOf } from '../sealing/renew-recovery.js'

/**
 * Copies what opens encrypted backups: epochs, their recipients, the keys of hosts. Each file is small and written once.
 * The other repository gets a recover.mjs that opens them. The file that names a repository's own first epoch stays behind, for the other repository seals to keys of its own, and so does what it attests of copies and of its root.
 */
export async function copyKeys(context: Context, origin: Repository, target: Repository): Promise<void> {
  let copied = 0
  for (const name of await keyFiles(origin.storage)) {
    if (name === firstFile || [copiesDirectory, recoveryDirectory].some(own => name.startsWith(`${own}/`))) continue
    const bytes = await unlessGone(origin.storage.readSmall(name, keyFileLimit))
    if (bytes !== undefined && (await copyOnce(target.storage, name, bytes))) copied += 1
  }
  await renewRecoveryOf(context, target, { quiet: copied === 0 })
}

/** Undefined for a recipient that another run takes out meanwhile. */
async function unlessGone(reading: Promise<Buffer>): Promise<Buffer | undefined> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'not-found') return undefined
    throw error
  }
}

/** Whether it was not there yet. */
async function copyOnce(storage: Storage, name: string, bytes: Buffer): Promise<boolean> {
  try {
    await storage.writeOnce(name, bytes)
    return true
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'exists') throw error
    if ((await storage.readSmall(name, keyFileLimit)).equals(bytes)) return false
    throw new NexusError('damage', 'keys_differ', `${storage.displayed(name)} is there with another content`, {
      hint: 'a key is never changed once it is written: find out who did it before anything else is sealed to it',
      cause: error,
    })
  }
}

/** Whether nothing may be stored in plain in a repository: it has keys of its own, or is configured to have them. */
export async function isSealed({ storage, id }: Repository, isWanted: boolean): Promise<boolean> {
  return isWanted || (await readOwnEpochs(storage, id)).length > 0
}

/** A backup or a file of the log in plain is never stored where everything else is encrypted. */
export function inPlain(what: string, origin: string, target: string): NexusError {
  return new NexusError('refused', 'copy_unencrypted', `${what} is not encrypted in ${origin}, and ${target} is`, {
    hint: `encrypt the repository that is copied from (nexus-backup keys add … --repo ${origin}) and take a full, or copy to one that is not encrypted`,
  })
}
