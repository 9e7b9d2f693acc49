import { createHash, randomBytes } from 'node:crypto'
import { chown, mkdir, readdir, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { errnoOf, messageOf, NexusError } from '../errors.js'
import { isFull } from '../repository/storage/faults.js'
import { machineId } from '../repository/storage/s3/machine.js'

/**
 * Makes a directory below the state directory (0700). As root everything there is given to the owner of the state
 * directory, so that sudo and the application's own user share it (design section 5, "Whose files").
 */
export async function stateSubdirectory(stateDirectory: string, ...names: string[]): Promise<string> {
  await mkdir(stateDirectory, { recursive: true, mode: 0o700 })
  let path = stateDirectory
  for (const name of names) {
    path = join(path, name)
    const made = await mkdir(path, { recursive: true, mode: 0o700 })
    if (made !== undefined) await shareState(path, dirname(path))
  }
  return path
}

/** Gives a new file or directory to the owner of the directory it lies in, when we are root. */
export async function shareState(path: string, directory: string): Promise<void> {
  if (process.geteuid?.() !== 0) return
  const { uid, gid } = await stat(directory)
  await chown(path, uid, gid)
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
  const scratch = await stateSubdirectory(stateDirectory, 'scratch', name).catch(error => {
    throw isFull(error) ? full(stateDirectory, error) : unusable(stateDirectory, error)
  })
  try {
    await removeAbandoned(scratch, machine)
    return await work(scratch)
  } catch (error) {
    throw isFull(error) ? full(stateDirectory, error) : error
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

/**
 * Removes scratch directories of processes that are gone: a copy of a whole database may lie there. Whether a process
 * of another machine or container that shares the directory is gone cannot be seen from here: those have a day.
 */
async function removeAbandoned(own: string, machine: string): Promise<void> {
  const directory = dirname(own)
  const { mtimeMs: now } = await stat(own)
  for (const name of await readdir(directory)) {
    const [, pid, mark] = /^(\d+)-(?:([0-9a-f]{8})-)?[0-9a-f]{16}$/.exec(name) ?? []
    if (pid === undefined || isAlive(Number(pid))) continue
    const found = await stat(join(directory, name)).catch(() => undefined)
    if (found !== undefined && (mark === machine || now - found.mtimeMs > DAY_MS)) {
      await rm(join(directory, name), { recursive: true, force: true })
    }
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
