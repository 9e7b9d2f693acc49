import { randomBytes } from 'node:crypto'
import { open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from '../errors.js'
import { shareState, stateSubdirectory } from './state-directory.js'

/** Writes a file below the state directory, 0600 and durable, in place of the one that may be there. */
export async function writeStateFile(
  stateDirectory: string,
  names: readonly string[],
  file: string,
  bytes: string | Uint8Array,
): Promise<void> {
  const directory = await stateSubdirectory(stateDirectory, ...names)
  const draft = join(directory, `${file}.new-${randomBytes(4).toString('hex')}`)
  try {
    const handle = await open(draft, 'wx', 0o600)
    try {
      await handle.writeFile(bytes)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await shareState(draft, directory)
    await rename(draft, join(directory, file))
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  }
}

/** The text of a file below the state directory; undefined where there is none. Throws the system's other errors. */
export async function readStateFile(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined
    throw error
  }
}
