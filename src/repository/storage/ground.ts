import { constants } from 'node:fs'
import { access, open, realpath, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { NexusError } from '../../errors.js'
import { withoutDescriptor } from '../../system/held-directory.js'
import { makeDirectoryFor, type Owner } from '../../system/ownership.js'
import { isOursAlone } from '../../system/trusted-path.js'
import type { Doing } from './faults.js'

/** What the parts of the local storage share. */
export interface Ground {
  /** As the operator named it. */
  readonly location: string
  /** The same without symbolic links. */
  readonly root: string
  /** Whom everything new is given to; undefined when we are not root and cannot give. */
  readonly owner: Owner | undefined
  /** Whether users other than root and us may put something else in the place of what lies there. */
  readonly isShared: boolean
}

/** Looks at a repository's directory. Throws the system's error when it is not there. */
export async function groundOf(location: string): Promise<Ground> {
  const root = await realpath(location)
  const { uid, gid } = await stat(root)
  const owner = process.getuid?.() === 0 ? { uid, gid } : undefined
  return { location, root, owner, isShared: !isOursAlone(root) }
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
export function pathOf(ground: Ground, name: string): string {
  if (name === '') return ground.root
  const segments = name.split('/')
  const leaves = segments.some(
    segment => segment === '' || segment === '.' || segment === '..' || segment.includes('\0'),
  )
  if (leaves) throw new NexusError('damage', 'repository_name_invalid', 'a name in the repository would leave it')
  return join(ground.root, ...segments)
}

/** Makes one directory, 0700 and the owner's; false when it already was there. */
export function makeDirectory(ground: Ground, path: string): boolean {
  return makeDirectoryFor(path, ground.owner ?? null)
}

/** Makes names in a directory survive a power cut. */
export async function syncDirectory(path: string): Promise<void> {
  // A descriptor's path is a link itself, which leads to that very directory.
  const named = withoutDescriptor(path) === path ? path : `${path}/.`
  const handle = await open(named, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
