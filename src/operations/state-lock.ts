import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { NexusError } from '../errors.js'
import { type LockFile, openLockFile } from '../repository/storage/lock-file.js'
import { writeStateFileOnce } from './state-file.js'

const lockName = '.lock'
/** Whoever holds it reads and writes one small file. */
const LONGEST_MS = 30_000
const PAUSE_MS = 5

/**
 * Reads and changes files of a directory below the state directory while no other run does: of two that change the same
 * file at once none loses what the other wrote. The kernel gives the lock back with the process. Where the file system
 * has no locks, the work is done without one.
 * @throws NexusError failed `state_locked` when another run holds it for half a minute
 */
export async function withStateLock<T>(
  stateDirectory: string,
  names: readonly string[],
  work: () => Promise<T>,
): Promise<T> {
  const path = join(stateDirectory, ...names, lockName)
  const lock = await openStateLock(stateDirectory, names, lockName)
  try {
    await taken(lock, path)
    return await work()
  } finally {
    lock.close()
  }
}

/** Opens a lock file below the state directory, which is made when it is not there. */
export async function openStateLock(stateDirectory: string, names: readonly string[], file: string): Promise<LockFile> {
  const path = join(stateDirectory, ...names, file)
  if (!existsSync(path)) await writeStateFileOnce(stateDirectory, names, file, '')
  return openLockFile(path, path)
}

async function taken(lock: LockFile, path: string): Promise<void> {
  const end = performance.now() + LONGEST_MS
  while (!isTaken(lock)) {
    if (performance.now() > end) {
      throw new NexusError('failed', 'state_locked', `${path} is held by another run of nexus-backup`, {
        hint: `see which one: fuser -v ${path}`,
      })
    }
    await sleep(PAUSE_MS)
  }
}

function isTaken(lock: LockFile): boolean {
  try {
    return lock.tryTake('exclusive')
  } catch (error) {
    if (error instanceof NexusError && error.code === 'lock_unusable') return true
    throw error
  }
}
