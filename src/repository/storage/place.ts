import { resolve } from 'node:path'
import { errnoOf } from '../../errors.js'
import { missing } from '../description.js'
import { faultOf } from './faults.js'
import { LocalStorage } from './local.js'
import { makeLocalRoot } from './local-root.js'
import type { S3Storage } from './s3/s3.js'
import type { S3Settings } from './s3/settings.js'
import type { NewRoot, Storage } from './storage.js'

/** Where a repository lies. */
export interface RepositoryPlace {
  /** A directory; with `s3` its URL, `s3://BUCKET/PREFIX`, by which messages and reports name it. */
  path: string
  s3?: S3Settings
  /** Fingerprints of epochs: where there are any, only lines with one of them count. */
  trustedEpochs?: readonly string[]
}

/** The storage of a repository that must exist. @throws NexusError not-found `repository_missing` */
export async function openStorage({ path, s3 }: RepositoryPlace): Promise<Storage> {
  if (s3 !== undefined) return openS3(s3)
  const location = resolve(path)
  try {
    return await LocalStorage.open(location)
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === 'ENOENT' || errno === 'ENOTDIR') throw missing(location, 'there is no such directory', error)
    throw errno === undefined ? error : faultOf(error, errno, { verb: 'opening', path: location, location })
  }
}

/**
 * The ground of a repository that may be new. Nobody on this machine owns a bucket: there an owner has the state directory only.
 * @throws NexusError usage for an owner that cannot be set
 */
export async function makeRoot({ path, s3 }: RepositoryPlace, owner: string | undefined): Promise<NewRoot> {
  if (s3 === undefined) return makeLocalRoot(resolve(path), owner)
  const storage = await openS3(s3)
  const take = async () => {
    await storage.assertCanHold()
    return storage
  }
  return { storage, assertOwned: async () => {}, take }
}

async function openS3(settings: S3Settings): Promise<S3Storage> {
  const { S3Storage } = await import('./s3/s3.js')
  return S3Storage.open(settings)
}
