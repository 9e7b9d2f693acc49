import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { NexusError } from '../../errors.js'
import { doing, type Ground } from './ground.js'
import { at, type Reach } from './reach.js'
import type { SequentialReader } from './storage.js'

// O_NONBLOCK so that a named pipe in a hostile repository cannot make us wait for ever.
const readFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/** Opens a file for reading from its beginning; damage when it is not a regular file. */
export function openLocalReader(ground: Ground, name: string): Promise<SequentialReader> {
  return at(ground, 'reading', name, async reach => {
    const { handle, size } = await openRegular(ground, reach, name)
    return sequentialReader(ground, name, handle, size)
  })
}

/** The whole of a small file; damage when it is larger than `limit` bytes. */
export function readLocalSmall(ground: Ground, name: string, limit: number): Promise<Buffer> {
  return at(ground, 'reading', name, async reach => {
    const { handle, size } = await openRegular(ground, reach, name)
    try {
      if (size > limit) throw tooLarge(ground, name, size, limit)
      return await readExactly(ground, name, handle, 0, size)
    } finally {
      await handle.close()
    }
  })
}

async function openRegular(ground: Ground, reach: Reach, name: string): Promise<{ handle: FileHandle; size: number }> {
  const handle = await open(await reach.pathOf(name), readFlags)
  try {
    const found = await handle.stat()
    if (found.isFile()) return { handle, size: found.size }
  } catch (error) {
    await handle.close()
    throw error
  }
  await handle.close()
  const { path } = doing(ground, 'reading', name)
  throw new NexusError('damage', 'repository_damaged', `${path} is not a regular file`)
}

function sequentialReader(ground: Ground, name: string, handle: FileHandle, size: number): SequentialReader {
  let position = 0
  let closed = false
  return {
    size,
    read(length) {
      const from = position
      const wanted = Math.min(length, size - from)
      position += wanted
      return at(ground, 'reading', name, () => readExactly(ground, name, handle, from, wanted))
    },
    readAt(from, length) {
      const wanted = Math.max(0, Math.min(length, size - from))
      return at(ground, 'reading', name, () => readExactly(ground, name, handle, from, wanted))
    },
    async close() {
      if (closed) return
      closed = true
      await handle.close()
    },
  }
}

/** Reads into a buffer whose memory is its own, so that it can be handed to a worker thread without a copy. */
async function readExactly(
  ground: Ground,
  name: string,
  handle: FileHandle,
  from: number,
  length: number,
): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(length)
  let filled = 0
  while (filled < length) {
    const { bytesRead } = await handle.read(buffer, filled, length - filled, from + filled)
    if (bytesRead === 0) throw cutShort(ground, name, from + filled)
    filled += bytesRead
  }
  return buffer
}

function cutShort(ground: Ground, name: string, end: number): NexusError {
  const { path } = doing(ground, 'reading', name)
  return new NexusError('damage', 'repository_damaged', `${path} was cut to ${end} bytes while it was read`)
}

function tooLarge(ground: Ground, name: string, size: number, limit: number): NexusError {
  const { path } = doing(ground, 'reading', name)
  return new NexusError('damage', 'file_too_large', `${path} has ${size} bytes where at most ${limit} are believed`)
}
