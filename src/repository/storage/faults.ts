import { statfs } from 'node:fs/promises'
import { errnoOf, messageOf, NexusError } from '../../errors.js'

/** What was being done when the system said no, for the message. */
export interface Doing {
  /** `writing`, `reading`, `removing` … */
  verb: string
  /** The full path, as the operator knows it. */
  path: string
  /** The repository's path. */
  location: string
}

/** Runs file-system work and turns its errors into ones an operator can act on. */
export async function guarded<T>(doing: Doing, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw await explained(error, doing)
  }
}

/**
 * Runs work that reads its source and writes files of its own on the repository's disk: that the disk is full is told as
 * of the repository. Every other error may be the source's and stays as it is.
 */
export async function namingFull<T>(doing: Doing, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw isFull(error) ? await explained(error, doing) : error
  }
}

/** Whether the system said that a disk has no room, or a quota none. */
export function isFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT'].includes(errnoOf(error) ?? '')
}

async function explained(error: unknown, doing: Doing): Promise<unknown> {
  const errno = errnoOf(error)
  if (error instanceof NexusError || errno === undefined) return error
  const free = errno === 'ENOSPC' ? await freeBytesOf(doing.location) : undefined
  return faultOf(error, errno, doing, free)
}

/** Bytes free for us at a path, or undefined where the file system does not say. */
export async function freeBytesOf(path: string): Promise<number | undefined> {
  try {
    const { bavail, bsize } = await statfs(path)
    return bavail * bsize
  } catch {
    return undefined
  }
}

/**
 * The error an operator sees for a system error in the repository: the one place that decides it.
 * @param free bytes free, where it was asked
 */
export function faultOf(error: unknown, errno: string, doing: Doing, free?: number): NexusError {
  const { verb, path, location } = doing
  const details = { cause: error }
  switch (errno) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new NexusError('failed', 'repository_full', `${verb} ${path} failed: ${fullness(errno, location, free)}`, {
        ...details,
        hint: `free space on the disk of ${location}, or retire old backups: nexus-backup prune --repo ${location}; every earlier backup is as it was`,
      })
    case 'EROFS':
      return new NexusError(
        'failed',
        'repository_read_only',
        `${verb} ${path} failed: ${location} is mounted read-only`,
        {
          ...details,
          hint: `see why with: findmnt --target ${location}`,
        },
      )
    case 'EACCES':
    case 'EPERM':
      return new NexusError('failed', 'repository_permission', `${verb} ${path} failed: permission denied`, {
        ...details,
        hint: `run as the owner of the repository or as root; see who that is with: ls -ld ${location}`,
      })
    case 'EIO':
      return new NexusError(
        'failed',
        'repository_io_error',
        `${verb} ${path} failed: the disk reports an input/output error`,
        {
          ...details,
          hint: 'look at the kernel log (dmesg) for the disk; do not delete any backup before its cause is known',
        },
      )
    case 'ENOENT':
      return new NexusError('not-found', 'not_in_repository', `${path} does not exist`, details)
    case 'ELOOP':
      return symlinkFault(path)
    case 'EISDIR':
    case 'ENOTDIR':
      return new NexusError('damage', 'repository_damaged', `${path} is not what a repository has there`, details)
    default:
      return new NexusError('failed', 'repository_error', `${verb} ${path} failed: ${messageOf(error)}`, details)
  }
}

/** A repository holds no symbolic links: one that does is damaged or hostile. */
export function symlinkFault(path: string): NexusError {
  return new NexusError(
    'damage',
    'repository_symlink',
    `${path} is or lies behind a symbolic link, which is never followed`,
    {
      hint: 'find out who made the link; where a directory must lie elsewhere, use a bind mount',
    },
  )
}

function fullness(errno: string, location: string, free: number | undefined): string {
  if (errno === 'EDQUOT') return `the disk quota at ${location} is used up`
  if (free === undefined) return `no space left at ${location}`
  return `no space left at ${location} (${free} bytes free)`
}
