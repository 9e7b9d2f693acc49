import { constants } from 'node:fs'
import { access, lchown, lstat, mkdir, open, realpath, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { errnoOf, NexusError } from '../../errors.js'
import { type Doing, guarded, symlinkFault } from './faults.js'

/** What the parts of the local storage share. */
export interface Ground {
  /** As the operator named it. */
  readonly location: string
  /** The same without symbolic links. */
  readonly root: string
  /** Whom everything new is given to; undefined when we are not root and cannot give. */
  readonly owner: { uid: number; gid: number } | undefined
}

/** Looks at a repository's directory. Throws the system's error when it is not there. */
export async function groundOf(location: string): Promise<Ground> {
  const root = await realpath(location)
  const { uid, gid } = await stat(root)
  return { location, root, owner: process.getuid?.() === 0 ? { uid, gid } : undefined }
}

/** Whether this process can write into the directory (permissions, read-only mount). */
export async function isWritable(root: string): Promise<boolean> {
  try {
    await access(root, constants.W_OK | constants.X_OK)
    return true
  } catch {
    return false
  }
}

export function doing(ground: Ground, verb: string, name: string): Doing {
  return { verb, path: join(ground.location, name), location: ground.location }
}

/** The path of a name, which is refused when it could leave the repository. */
function pathOf(ground: Ground, name: string): string {
  if (name === '') return ground.root
  const segments = name.split('/')
  const leaves = segments.some(
    segment => segment === '' || segment === '.' || segment === '..' || segment.includes('\0'),
  )
  if (leaves) throw new NexusError('damage', 'repository_name_invalid', 'a name in the repository would leave it')
  return join(ground.root, ...segments)
}

/**
 * The path of a name after making sure that no directory on the way to it is a symbolic link.
 * The last component is the caller's: opened with O_NOFOLLOW, or looked at with lstat.
 */
export async function checkedPathOf(ground: Ground, name: string): Promise<string> {
  const path = pathOf(ground, name)
  const parent = dirname(path)
  if (name !== '' && (await realpath(parent)) !== parent) throw symlinkFault(join(ground.location, dirname(name)))
  return path
}

/** The path of a directory, after making sure that neither it nor one above it is a symbolic link. */
export async function checkedDirectory(ground: Ground, name: string): Promise<string> {
  const path = pathOf(ground, name)
  if ((await realpath(path)) !== path) throw symlinkFault(join(ground.location, name))
  return path
}

/** Makes a directory and those above it below the root, 0700, the owner's, each one durable. */
export async function ensureDirectory(ground: Ground, name: string): Promise<string> {
  const path = pathOf(ground, name)
  if (name === '') return path
  const found = await lstat(path).catch(error => {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  })
  if (found?.isSymbolicLink()) throw symlinkFault(join(ground.location, name))
  const parent = await ensureDirectory(ground, name.includes('/') ? name.slice(0, name.lastIndexOf('/')) : '')
  if (found === undefined && (await makeDirectory(ground, path))) await syncDirectory(parent)
  return path
}

/** Makes one directory, 0700 and the owner's; false when it already was there. */
export async function makeDirectory(ground: Ground, path: string): Promise<boolean> {
  try {
    await mkdir(path, { mode: 0o700 })
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false
    throw error
  }
  if (ground.owner) await lchown(path, ground.owner.uid, ground.owner.gid)
  return true
}

/** Makes names in a directory survive a power cut. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** `guarded` for a name in the repository. */
export function at<T>(ground: Ground, verb: string, name: string, work: () => Promise<T>): Promise<T> {
  return guarded(doing(ground, verb, name), work)
}
