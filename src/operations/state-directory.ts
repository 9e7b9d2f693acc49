import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, rmdirSync } from 'node:fs'
import { lstat, mkdir, readdir } from 'node:fs/promises'
import { errnoOf, messageOf, NexusError } from '../errors.js'
import { isFull } from '../repository/storage/faults.js'
import { machineId } from '../repository/storage/s3/machine.js'
import { HeldDirectory } from '../system/held-directory.js'
import { removeIn } from '../system/names.js'
import { giveNewFile, givesFilesAway, makeDirectoryFor } from '../system/ownership.js'
import { isOursAlone, trustedPath } from '../system/trusted-path.js'

/**
 * Makes a directory below the state directory (0700) and holds it while `work` goes on: another user who owns the state
 * directory leads nothing that is written in it to another place. As root everything there is given to the owner of the
 * state directory, so that sudo and the application's own user share it.
 */
export async function inStateDirectory<T>(
  stateDirectory: string,
  names: readonly string[],
  work: (directory: HeldDirectory) => Promise<T>,
): Promise<T> {
  await mkdir(stateDirectory, { recursive: true, mode: 0o700 })
  let directory = HeldDirectory.open(trustedPath(stateDirectory))
  try {
    for (const name of names) {
      const inner = subdirectory(directory, name)
      directory.close()
      directory = inner
    }
    return await work(directory)
  } finally {
    directory.close()
  }
}

function subdirectory(directory: HeldDirectory, name: string): HeldDirectory {
  makeDirectoryFor(directory.at(name), givesFilesAway() ? directory.stat() : null)
  return directory.enter(name)
}

/** Gives a new file to the owner of the directory it lies in, when we are root. */
export function shareState(directory: HeldDirectory, name: string): void {
  if (givesFilesAway()) giveNewFile(directory.at(name), directory.stat())
}

const DAY_MS = 24 * 3600 * 1000

/**
 * A scratch directory below the state directory, gone when `work` ends. What killed runs left there goes first.
 * @throws NexusError failed `state_unusable` when it cannot be made, `disk_full` when there is no room for what `work` puts
 *   there: the system names neither
 */
export async function withStateScratch<T>(stateDirectory: string, work: (scratch: string) => Promise<T>): Promise<T> {
  const machine = machineMark()
  const name = `${process.pid}-${machine}-${randomBytes(8).toString('hex')}`
  const scratch = await makeScratch(stateDirectory, name).catch(error => {
    throw isFull(error) ? full(stateDirectory, error) : unusable(stateDirectory, error)
  })
  try {
    await inStateDirectory(stateDirectory, ['scratch'], directory => removeAbandoned(directory, name, machine))
    return await work(isOursAlone(scratch.path) ? scratch.path : scratch.at('.'))
  } catch (error) {
    if (error instanceof Error) error.message = error.message.replaceAll(`${scratch.at('.')}/`, `${scratch.path}/`)
    throw isFull(error) ? full(stateDirectory, error) : error
  } finally {
    scratch.close()
    await removeScratch(stateDirectory, name)
  }
}

/** It stays this process's own, for nobody else shares it: the owner of the state directory must not reach what root writes. */
async function makeScratch(stateDirectory: string, name: string): Promise<HeldDirectory> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await inStateDirectory(stateDirectory, ['scratch'], async directory => {
        mkdirSync(directory.at(name), { mode: 0o700 })
        return directory.enter(name)
      })
    } catch (error) {
      // A run that ended meanwhile took the empty directory away.
      if (errnoOf(error) !== 'ENOENT' || attempt === ATTEMPTS) throw error
    }
  }
}

/** Times that the place of scratch directories is made again. */
const ATTEMPTS = 10

/** Leaves nothing of a run that only reads: the place of scratch directories goes with the last of them. */
async function removeScratch(stateDirectory: string, name: string): Promise<void> {
  await inStateDirectory(stateDirectory, ['scratch'], async directory => removeIn(directory, name))
  await inStateDirectory(stateDirectory, [], async directory => {
    try {
      rmdirSync(directory.at('scratch'))
    } catch (error) {
      if (!['ENOTEMPTY', 'EEXIST', 'ENOENT'].includes(errnoOf(error) ?? '')) throw error
    }
  })
}

/**
 * Removes scratch directories of processes that are gone: a copy of a whole database may lie there. Whether a process
 * of another machine or container that shares the directory is gone cannot be seen from here: those have a day.
 */
async function removeAbandoned(directory: HeldDirectory, own: string, machine: string): Promise<void> {
  const { mtimeMs: now } = await lstat(directory.at(own))
  for (const name of await readdir(directory.at('.'))) {
    const [, pid, mark] = /^(\d+)-(?:([0-9a-f]{8})-)?[0-9a-f]{16}$/.exec(name) ?? []
    if (pid === undefined || isAlive(Number(pid))) continue
    const found = await lstat(directory.at(name)).catch(() => undefined)
    if (found !== undefined && (mark === machine || now - found.mtimeMs > DAY_MS)) removeIn(directory, name)
  }
}

/** Stands for this boot and table of processes; where the system has no such name, for nothing that is ever met again. */
function machineMark(): string {
  const id = machineId() ?? randomBytes(8)
  return createHash('sha256').update(id).digest('hex').slice(0, 8)
}

function full(stateDirectory: string, cause: unknown): NexusError {
  const why = `there is no room in the state directory ${stateDirectory} for what a run keeps there while it works`
  return new NexusError('failed', 'disk_full', `${why}: no space left`, {
    hint: 'free space there, or name a directory on another disk with --state DIR',
    cause,
  })
}

function unusable(stateDirectory: string, cause: unknown): NexusError {
  return new NexusError(
    'failed',
    'state_unusable',
    `the state directory cannot be used: ${stateDirectory}: ${messageOf(cause)}`,
    {
      hint: 'run as its owner or as root, or name another one with --state DIR',
      cause,
    },
  )
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return errnoOf(error) !== 'ESRCH'
  }
}
