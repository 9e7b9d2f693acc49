import { closeSync, constants, fstatSync, fsyncSync, futimesSync, openSync, readSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import type { HeldDirectory } from '../../system/held-directory.js'
import { copyAttributes } from './attributes.js'
import { writeFully } from './rollback-journal.js'

/** A multiple of every page size. */
export const CHUNK_BYTES = 1024 * 1024
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDWR } = constants

/**
 * Copies an open database to a new name in a directory, with owner, mode, times and extended attributes, durably. The
 * database stays open: closing any descriptor of it would drop this process's lock.
 *
 * @returns what of owner and mode could not be kept, in words
 */
export async function keepCopy(live: number, directory: HeldDirectory, name: string): Promise<string[]> {
  const { size, atime, mtime } = fstatSync(live)
  let lost: string[] = []
  const copy = openSync(directory.at(name), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
  try {
    for (let at = 0; at < size; at += CHUNK_BYTES) {
      writeFully(copy, read(live, at), at)
      await turn()
    }
    lost = await copyAttributes(live, copy)
    futimesSync(copy, atime, mtime)
    fsyncSync(copy)
  } finally {
    closeSync(copy)
  }
  fsyncSync(directory.fd)
  return lost
}

/** What lies there, up to so many bytes; less at the end of the file. */
export function read(fd: number, position: number, bytes = CHUNK_BYTES): Buffer {
  const buffer = Buffer.allocUnsafe(bytes)
  let filled = 0
  while (filled < bytes) {
    const count = readSync(fd, buffer, filled, bytes - filled, position + filled)
    if (count === 0) break
    filled += count
  }
  return buffer.subarray(0, filled)
}
