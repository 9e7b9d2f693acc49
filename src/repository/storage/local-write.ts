import { createHash, randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, link, lstat, open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { errnoOf, NexusError } from '../../errors.js'
import { derivedName } from '../../system/derived-name.js'
import { meansNoLinks, renameOnce } from '../../system/put-once.js'
import { partialPrefix } from '../layout.js'
import { doing, type Ground, syncDirectory } from './ground.js'
import { at, type Reach } from './reach.js'
import type { PartWriter, WrittenPart } from './storage.js'

const createFlags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW

/** Makes a new file, 0600 and the owner's. */
async function createFile(ground: Ground, path: string): Promise<FileHandle> {
  const handle = await open(path, createFlags, 0o600)
  try {
    if (ground.owner) await handle.chown(ground.owner.uid, ground.owner.gid)
  } catch (error) {
    await handle.close()
    throw error
  }
  return handle
}

/** A writer that hashes what it writes; `name` is for messages, `path` where the bytes go. */
export async function openPartWriter(ground: Ground, name: string, path: string): Promise<PartWriter> {
  const handle = await at(ground, 'writing', name, () => createFile(ground, path))
  const hash = createHash('sha256')
  let bytes = 0
  let tail: Promise<void> = Promise.resolve()
  let closing: Promise<WrittenPart> | undefined

  async function append(chunk: Uint8Array): Promise<void> {
    const position = bytes
    bytes += chunk.byteLength
    const writing = writeAll(handle, chunk, position)
    // The disk works while we hash.
    hash.update(chunk)
    await writing
  }

  async function finish(): Promise<WrittenPart> {
    try {
      await tail
      await handle.sync()
      const { size } = await handle.stat()
      if (size !== bytes) throw miscounted(ground, name, size, bytes)
    } finally {
      await handle.close()
    }
    return { name: basename(path), bytes, sha256: hash.digest('hex') }
  }

  return {
    async write(chunk) {
      if (closing) throw new NexusError('failed', 'part_closed', `${name} is closed and takes no more bytes`)
      const mine = tail.then(() => append(chunk))
      tail = mine
      await at(ground, 'writing', name, () => mine)
    },
    close() {
      closing ??= at(ground, 'writing', name, finish)
      return closing
    },
  }
}

/** Writes a small file durably; an existing name is an error (`exists`). */
export function writeLocalOnce(ground: Ground, name: string, bytes: Uint8Array): Promise<void> {
  return at(ground, 'writing', name, async reach => {
    const { path, parent, temporary } = await prepare(reach, name)
    try {
      if (await exists(path)) throw alreadyThere(ground, name)
      await writeWhole(ground, temporary, bytes)
      if (!(await linkOnce(temporary, path))) throw alreadyThere(ground, name)
    } finally {
      await rm(temporary, { force: true })
    }
    await syncDirectory(parent)
  })
}

/** Syncs a file that is there, and every directory from it up to the root: a killed writer may not have come that far. */
export function persistLocal(ground: Ground, name: string): Promise<void> {
  return at(ground, 'writing', name, async reach => {
    const path = await reach.pathOf(name)
    const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
    for (let directory = name; directory !== ''; ) {
      directory = directory.slice(0, Math.max(0, directory.lastIndexOf('/')))
      await syncDirectory(await reach.directory(directory))
    }
  })
}

/** Writes a small file durably in place of the one that may be there: readers see the old or the new. */
export function replaceLocal(ground: Ground, name: string, bytes: Uint8Array): Promise<void> {
  return at(ground, 'writing', name, async reach => {
    const { path, parent, temporary } = await prepare(reach, name)
    try {
      await writeWhole(ground, temporary, bytes)
      await rename(temporary, path)
    } finally {
      await rm(temporary, { force: true })
    }
    await syncDirectory(parent)
  })
}

async function prepare(reach: Reach, name: string): Promise<{ path: string; parent: string; temporary: string }> {
  await reach.ensureDirectory(name.includes('/') ? name.slice(0, name.lastIndexOf('/')) : '')
  const path = await reach.pathOf(name)
  const parent = dirname(path)
  const suffix = `-${randomBytes(4).toString('hex')}`
  const temporary = join(parent, derivedName(basename(path), { prefix: partialPrefix, suffix }))
  return { path, parent, temporary }
}

async function writeWhole(ground: Ground, path: string, bytes: Uint8Array): Promise<void> {
  const handle = await createFile(ground, path)
  try {
    await writeAll(handle, bytes, 0)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * A hard link fails when the name exists, which a rename does not; some file systems have none.
 * @returns false when the name exists
 */
async function linkOnce(temporary: string, path: string): Promise<boolean> {
  try {
    await link(temporary, path)
    return true
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false
    if (!meansNoLinks(error)) throw error
    return renameOnce(temporary, path)
  }
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0
  while (done < bytes.byteLength) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.byteLength - done, position + done)
    done += bytesWritten
  }
}

export async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw error
  }
}

export function alreadyThere(ground: Ground, name: string): NexusError {
  const { path } = doing(ground, 'writing', name)
  return new NexusError('failed', 'exists', `${path} already exists and is never overwritten`)
}

function miscounted(ground: Ground, name: string, size: number, bytes: number): NexusError {
  const { path } = doing(ground, 'writing', name)
  return new NexusError('failed', 'repository_io_error', `${path} has ${size} bytes after ${bytes} were written`, {
    hint: 'look at the kernel log (dmesg) for the disk',
  })
}
