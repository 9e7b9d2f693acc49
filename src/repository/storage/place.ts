import { resolve } from 'node:path'
import { errnoOf } from '../../errors.js'
import { missing } from '../description.js'
import { faultOf } from './faults.js'
import { LocalStorage } from './local.js'
import { makeLocalRoot } from './local-root.js'
import type { NewRoot, Storage } from './storage.js'

/** Where a repository lies. */
export interface RepositoryPlace {
  /** A directory. */
  path: string
}

/** The storage of a repository that must exist. @throws NexusError not-found `repository_missing` */
export async function openStorage({ path }: RepositoryPlace): Promise<Storage> {
  const location = resolve(path)
  try {
    return await LocalStorage.open(location)
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === 'ENOENT' || errno === 'ENOTDIR') throw missing(location, 'there is no such directory', error)
    throw errno === undefined ? error : faultOf(error, errno, { verb: 'opening', path: location, location })
  }
}

/** The ground of a repository that may be new. @throws NexusError usage for an owner that cannot be set */
export async function makeRoot({ path }: RepositoryPlace, owner: string | undefined): Promise<NewRoot> {
  return makeLocalRoot(resolve(path), owner)
}
