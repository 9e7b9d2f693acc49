import { randomBytes } from 'node:crypto'
import { chown, mkdir, readdir, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { errnoOf } from '../errors.js'

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

/** A scratch directory below the state directory, gone when `work` ends. What killed runs left there goes first. */
export async function withStateScratch<T>(stateDirectory: string, work: (scratch: string) => Promise<T>): Promise<T> {
  const name = `${process.pid}-${randomBytes(8).toString('hex')}`
  const scratch = await stateSubdirectory(stateDirectory, 'scratch', name)
  try {
    await removeAbandoned(dirname(scratch), scratch)
    return await work(scratch)
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

/**
 * Removes scratch directories of processes that are gone, a day after: a copy of a whole database may lie there. Processes
 * of a container that shares the directory cannot be seen from here, and have that day.
 */
async function removeAbandoned(directory: string, own: string): Promise<void> {
  const { mtimeMs: now } = await stat(own)
  for (const name of await readdir(directory)) {
    const pid = Number(/^(\d+)-[0-9a-f]{16}$/.exec(name)?.[1] ?? Number.NaN)
    if (Number.isNaN(pid) || isAlive(pid)) continue
    const found = await stat(join(directory, name)).catch(() => undefined)
    if (found !== undefined && now - found.mtimeMs > DAY_MS) {
      await rm(join(directory, name), { recursive: true, force: true })
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return errnoOf(error) !== 'ESRCH'
  }
}
