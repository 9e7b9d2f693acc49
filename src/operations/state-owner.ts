import { fstatSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import type { Context } from '../context.js'
import { makeParents } from '../repository/storage/local-root.js'
import { resolveOwner } from '../repository/storage/owner.js'
import { HeldDirectory, whileHeld } from '../system/held-directory.js'
import { makeDirectoryFor } from '../system/ownership.js'
import { trustedPath } from '../system/trusted-path.js'
import { shellQuoted } from './shell.js'

/**
 * Makes the state directory of a host for the owner of the repository that is made: that user archives WAL and signs it with
 * the key in there. One that exists keeps its owner, and a warning tells how it is given away.
 *
 * @param owner `user` or `user:group`
 * @throws NexusError usage for an owner that cannot be set, and the system's errors
 */
export async function shareStateDirectory(
  { stateDirectory, warn }: Pick<Context, 'stateDirectory' | 'warn'>,
  owner: string,
): Promise<void> {
  const ids = await resolveOwner(owner)
  makeParents(stateDirectory)
  const name = basename(stateDirectory)
  if (whileHeld(trustedPath(dirname(stateDirectory)), held => makeDirectoryFor(held.at(name), ids))) return
  const directory = HeldDirectory.open(trustedPath(stateDirectory))
  try {
    if (fstatSync(directory.fd).uid === ids.uid) return
  } finally {
    directory.close()
  }
  warn(
    `the state directory ${stateDirectory} does not belong to ${owner}, who cannot sign WAL with the key in it; ` +
      `give it away as a whole: chown -R ${shellQuoted(owner)} ${shellQuoted(stateDirectory)}`,
  )
}
