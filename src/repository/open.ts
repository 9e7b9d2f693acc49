import { NexusError } from '../errors.js'
import { describeRepository } from './description.js'
import { assertSourceName, isSourceName, partialPrefix, repositoryFile } from './layout.js'
import { assertMayBecomeRoot, mayLieInNewRoot, writeRoot } from './root-making.js'
import { sourceRoom } from './source-room.js'
import { makeRoot, openStorage, type RepositoryPlace } from './storage/place.js'
import type { Storage } from './storage/storage.js'
import type { Repository, SourceRoom } from './types.js'

/**
 * Opens an existing repository.
 * @param where its place; a text alone is a directory
 * @throws NexusError not-found `repository_missing` when there is none (a missing mount must not become a new,
 *   empty repository: design section 7), damage when nexus-backup.json is broken, failed for an unknown format
 */
export async function openRepository(where: RepositoryPlace | string): Promise<Repository> {
  const place = placeOf(where)
  return repositoryOf(await openStorage(place), place)
}

async function repositoryOf(storage: Storage, { trustedEpochs = [] }: RepositoryPlace): Promise<Repository> {
  const { id, locking } = await describeRepository(storage)
  storage.followLocking?.(locking)
  const rooms = new Map<string, SourceRoom>()
  const repository: Repository = {
    id,
    location: storage.location,
    get writable() {
      return storage.writable
    },
    storage,
    trustedEpochs,
    async sources() {
      const found = await storage.list('')
      return found
        .filter(({ name, kind }) => kind === 'directory' && isSourceName(name))
        .map(({ name }) => name)
        .sort()
    },
    source(name) {
      assertSourceName(name)
      const room = rooms.get(name) ?? sourceRoom(repository, storage, name)
      rooms.set(name, room)
      return room
    },
  }
  return repository
}

/**
 * Makes a repository, completes one whose making was interrupted, or opens the one that is there.
 * nexus-backup.json comes last: what has it is complete.
 * @param options.owner `user` or `user:group`, given everything in it (needs root)
 * @throws NexusError refused for a place with other things in it, usage for an owner that cannot be set
 */
export async function initRepository(
  where: RepositoryPlace | string,
  options: { owner?: string; now: Date },
): Promise<Repository> {
  const place = placeOf(where)
  const root = await makeRoot(place, options.owner)
  const names = (await root.storage.list('')).map(entry => entry.name)
  if (names.includes(repositoryFile)) {
    await root.assertOwned()
    return repositoryOf(root.storage, place)
  }
  assertMayBecomeRoot(names, root.storage.location)
  const storage = await root.take(mayLieInNewRoot)
  if (names.some(name => name.startsWith(partialPrefix))) await storage.removeLeftovers('')
  await writeRootBeside(storage, options.now, lockingOf(place))
  return repositoryOf(storage, place)
}

function placeOf(where: RepositoryPlace | string): RepositoryPlace {
  return typeof where === 'string' ? { path: where } : where
}

/** What a new repository says of its writers; it says nothing of the usual way. */
function lockingOf({ s3 }: RepositoryPlace): string | undefined {
  return s3?.locking === 'conditional' ? undefined : s3?.locking
}

/** Another init that begins at the same time takes what we are writing for leftovers, once: then it is written again. */
async function writeRootBeside(storage: Storage, now: Date, locking: string | undefined): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await writeRoot(storage, now, locking)
    } catch (error) {
      if (!(error instanceof NexusError) || error.code !== 'not_in_repository' || attempt === 5) throw error
    }
  }
}
