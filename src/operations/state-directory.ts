import { randomBytes } from 'node:crypto'
import { chown, mkdir, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'

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

/** A scratch directory below the state directory, gone when `work` ends. */
export async function withStateScratch<T>(stateDirectory: string, work: (scratch: string) => Promise<T>): Promise<T> {
  const scratch = await stateSubdirectory(stateDirectory, 'scratch', randomBytes(8).toString('hex'))
  try {
    return await work(scratch)
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}
