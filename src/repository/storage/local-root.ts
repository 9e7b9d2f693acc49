import { mkdirSync } from 'node:fs'
import { mkdir, readdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { errnoOf, NexusError } from '../../errors.js'
import { exchanged, HeldDirectory } from '../../system/held-directory.js'
import { give } from '../../system/ownership.js'
import { trustedPath } from '../../system/trusted-path.js'
import { guarded } from './faults.js'
import { syncDirectory } from './ground.js'
import { LocalStorage } from './local.js'
import { assertOwner, type Ids, resolveOwner } from './owner.js'
import type { NewRoot } from './storage.js'

/**
 * Makes the directory of a repository that may be new.
 * @param owner `user` or `user:group`, whom everything in it shall belong to (needs root)
 * @throws NexusError usage for an owner that cannot be set, and when a file is in the way
 */
export async function makeLocalRoot(location: string, owner: string | undefined): Promise<NewRoot> {
  const ids = owner === undefined ? undefined : await resolveOwner(owner)
  await makeDirectories(location)
  const storage = await guarded({ verb: 'opening', path: location, location }, () => LocalStorage.open(location))
  return {
    storage,
    async assertOwned() {
      if (ids) await assertOwner(location, ids)
    },
    take(mayLieThere) {
      return guarded({ verb: 'preparing', path: location, location }, () =>
        takeDirectory(location, ids ?? null, mayLieThere),
      )
    },
  }
}

/**
 * A directory that is given away must be the one that was looked at, and hold nothing of somebody else's; it is not found
 * through another user's link, and the storage that is opened then is in it.
 *
 * @throws NexusError `refused` (`link_of_another_user`, `directory_exchanged`)
 */
async function takeDirectory(
  location: string,
  owner: Ids | null,
  mayLieThere: (name: string) => boolean,
): Promise<LocalStorage> {
  const directory = HeldDirectory.open(trustedPath(location))
  try {
    const foreign = owner === null ? undefined : (await readdir(directory.at('.'))).find(name => !mayLieThere(name))
    if (foreign !== undefined) throw exchanged(location)
    give(directory.fd, owner, 0o700)
    // Opened again: its files go to the owner that the directory has now.
    const storage = await LocalStorage.open(location)
    if (storage.root !== directory.path) throw exchanged(location)
    return storage
  } finally {
    directory.close()
  }
}

/** Makes the directory and those above it, durably. Throws `usage` when a file is in the way. */
async function makeDirectories(location: string): Promise<void> {
  await guarded({ verb: 'making', path: location, location: dirname(location) }, async () => {
    try {
      const first = makeParents(location)
      const own = await mkdir(location, { recursive: true, mode: 0o700 })
      // Each name on the way must survive a power cut.
      const highest = first ?? own ?? `${location}/`
      for (let made = location; made.length >= highest.length; made = dirname(made)) await syncDirectory(dirname(made))
    } catch (error) {
      if (errnoOf(error) === 'EEXIST' || errnoOf(error) === 'ENOTDIR') throw notADirectory(location, error)
      throw error
    }
  })
}

/**
 * Makes the directories above a new one: they hold nothing of ours, and whoever owns that one must be able to enter.
 * @returns the highest that was made
 */
export function makeParents(location: string): string | undefined {
  // A stricter umask would lock that owner out; changing the mode afterwards could change that of something else.
  const mask = process.umask(0o022)
  try {
    return mkdirSync(dirname(location), { recursive: true, mode: 0o755 })
  } finally {
    process.umask(mask)
  }
}

function notADirectory(location: string, cause: unknown): NexusError {
  return new NexusError(
    'usage',
    'not_a_directory',
    `${location} cannot be a repository: it, or a part of its path, is a file`,
    { cause, hint: 'choose another directory with --repo DIR' },
  )
}
