import { chmod, chown } from 'node:fs/promises'
import { resolve } from 'node:path'
import { errnoOf, NexusError } from '../errors.js'
import { missing, readRepositoryId } from './description.js'
import { assertSourceName, isSourceName, partialPrefix, repositoryFile } from './layout.js'
import { assertOwner, resolveOwner } from './owner.js'
import { assertMayBecomeRoot, makeRoot, writeRoot } from './root-making.js'
import { sourceRoom } from './source-room.js'
import { faultOf, guarded } from './storage/faults.js'
import { LocalStorage } from './storage/local.js'
import type { Repository } from './types.js'

/**
 * Opens an existing repository.
 * @throws NexusError not-found `repository_missing` when there is none (a missing mount must not become a new,
 *   empty repository: design section 7), damage when nexus-backup.json is broken, failed for an unknown format
 */
export async function openRepository(path: string): Promise<Repository> {
  const location = resolve(path)
  const storage = await openStorage(location)
  const id = await readRepositoryId(storage)
  const repository: Repository = {
    id,
    location,
    writable: storage.writable,
    storage,
    async sources() {
      const found = await storage.list('')
      return found
        .filter(({ name, kind }) => kind === 'directory' && isSourceName(name))
        .map(({ name }) => name)
        .sort()
    },
    source(name) {
      assertSourceName(name)
      return sourceRoom(repository, storage, name)
    },
  }
  return repository
}

async function openStorage(location: string): Promise<LocalStorage> {
  try {
    return await LocalStorage.open(location)
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === 'ENOENT' || errno === 'ENOTDIR') throw missing(location, 'there is no such directory', error)
    throw errno === undefined ? error : faultOf(error, errno, { verb: 'opening', path: location, location })
  }
}

/**
 * Makes a repository, completes one whose making was interrupted, or opens the one that is there.
 * nexus-backup.json comes last: what has it is complete.
 * @param options.owner `user` or `user:group`, given everything in it (needs root)
 * @throws NexusError refused for a directory with other things in it, usage for an owner that cannot be set
 */
export async function initRepository(path: string, options: { owner?: string; now: Date }): Promise<Repository> {
  const location = resolve(path)
  const owner = options.owner === undefined ? undefined : await resolveOwner(options.owner)
  await makeRoot(location)
  const storage = await guarded({ verb: 'opening', path: location, location }, () => LocalStorage.open(location))
  const names = (await storage.list('')).map(entry => entry.name)
  if (names.includes(repositoryFile)) {
    if (owner) await assertOwner(location, owner)
    return openRepository(location)
  }
  assertMayBecomeRoot(names, location)
  await guarded({ verb: 'preparing', path: location, location }, async () => {
    await chmod(location, 0o700)
    if (owner) await chown(location, owner.uid, owner.gid)
  })
  if (names.some(name => name.startsWith(partialPrefix))) await storage.removeLeftovers('')
  // Opened again: its files go to the owner that the directory has now.
  await writeRootBeside(await LocalStorage.open(location), options.now)
  return openRepository(location)
}

/** Another init that begins at the same time takes what we are writing for leftovers, once: then it is written again. */
async function writeRootBeside(storage: LocalStorage, now: Date): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await writeRoot(storage, now)
    } catch (error) {
      if (!(error instanceof NexusError) || error.code !== 'not_in_repository' || attempt === 5) throw error
    }
  }
}
