import { randomBytes } from 'node:crypto'
import { constants, type Stats } from 'node:fs'
import { lstat, open, readdir, rename, rm } from 'node:fs/promises'
import { errnoOf } from '../errors.js'
import type { HeldDirectory } from '../system/held-directory.js'
import { givesFilesAway } from '../system/ownership.js'
import { putOnce } from '../system/put-once.js'
import { inStateDirectory } from './state-directory.js'

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/** Writes a file below the state directory, 0600 and durable, in place of the one that may be there. */
export async function writeStateFile(
  stateDirectory: string,
  names: readonly string[],
  file: string,
  bytes: string | Uint8Array,
): Promise<void> {
  await place(stateDirectory, names, { file, bytes }, async (draft, path) => {
    await rename(draft, path)
    return true
  })
}

/**
 * The same unless the file is there, of which two that are written at once make one.
 * @returns false when it is there
 */
export async function writeStateFileOnce(
  stateDirectory: string,
  names: readonly string[],
  file: string,
  bytes: string | Uint8Array,
): Promise<boolean> {
  return place(stateDirectory, names, { file, bytes }, async (draft, path) => {
    const isFirst = putOnce(draft, path)
    await rm(draft, { force: true })
    return isFirst
  })
}

/** Writes a draft and has it put in its place. */
async function place(
  stateDirectory: string,
  names: readonly string[],
  { file, bytes }: { file: string; bytes: string | Uint8Array },
  put: (draft: string, path: string) => Promise<boolean>,
): Promise<boolean> {
  return inStateDirectory(stateDirectory, names, async directory => {
    const draft = `${file}.new-${randomBytes(4).toString('hex')}`
    try {
      const handle = await open(directory.at(draft), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
      try {
        await handle.writeFile(bytes)
        if (givesFilesAway()) await handle.chown(directory.stat().uid, directory.stat().gid)
        await handle.sync()
      } finally {
        await handle.close()
      }
      await removeAbandoned(directory, draft)
      return await put(directory.at(draft), directory.at(file))
    } catch (error) {
      await rm(directory.at(draft), { force: true })
      throw error
    }
  })
}

const HOUR_MS = 3_600_000

/** Removes drafts of runs that were killed an hour ago: nobody writes one for that long, and a key may stand in it. */
async function removeAbandoned(directory: HeldDirectory, own: string): Promise<void> {
  const { mtimeMs: now } = await lstat(directory.at(own))
  for (const name of await readdir(directory.at('.'))) {
    if (!/\.new-[0-9a-f]{8}$/.test(name)) continue
    const found = await lstat(directory.at(name)).catch(() => undefined)
    if (found !== undefined && now - found.mtimeMs > HOUR_MS) await rm(directory.at(name), { force: true })
  }
}

/** Bytes of the largest file that is believed: what is remembered of some hundred thousand backups or files of the log. */
const LARGEST = 64 * 1024 * 1024

/**
 * The text of a file below the state directory; undefined where there is none. Throws the system's other errors, and such a
 * one (`EFBIG`, `EINVAL`) for what is too large or no file: another user may own the directory, and a pipe must not make
 * anybody wait for ever.
 */
export async function readStateFile(path: string): Promise<string | undefined> {
  return (await readStateBytes(path, () => true))?.toString()
}

/**
 * The same as bytes.
 * @param isBelieved told of the file that is open: one that is not counts as if there were none
 */
export async function readStateBytes(path: string, isBelieved: (found: Stats) => boolean): Promise<Buffer | undefined> {
  try {
    const handle = await open(path, O_RDONLY | O_NONBLOCK)
    try {
      const found = await handle.stat()
      if (!found.isFile()) throw fault('EINVAL', `${path} is not a file`)
      if (found.size > LARGEST) throw fault('EFBIG', `${path} has ${found.size} bytes`)
      return isBelieved(found) ? await handle.readFile() : undefined
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined
    throw error
  }
}

function fault(code: string, message: string): Error {
  return Object.assign(new Error(`${code}: ${message}`), { code })
}
