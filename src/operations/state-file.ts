import { randomBytes } from 'node:crypto'
import { open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
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
    await removeAbandoned(directory, draft)
    await rename(draft, join(directory, file))
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  }
}

const HOUR_MS = 3_600_000

/** Removes drafts of runs that were killed an hour ago: nobody writes one for that long, and a key may stand in it. */
async function removeAbandoned(directory: string, own: string): Promise<void> {
  const { mtimeMs: now } = await stat(own)
  for (const name of await readdir(directory)) {
    if (!/\.new-[0-9a-f]{8}$/.test(name)) continue
    const found = await stat(join(directory, name)).catch(() => undefined)
    if (found !== undefined && now - found.mtimeMs > HOUR_MS) await rm(join(directory, name), { force: true })
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
