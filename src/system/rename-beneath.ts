import { closeSync, constants, fsyncSync, openSync, renameSync } from 'node:fs'
import { errnoOf } from '../errors.js'
import { whileHeld } from './held-directory.js'
import { nameExists } from './names.js'
import { splitPath } from './trusted-path.js'

const FLAGS = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW

/**
 * Moves an entry from one directory tree into another of the same file system, to the same path. Every directory on the
 * way is opened without following links, so that nobody who may write there leads the rename elsewhere. It is not made
 * durable: see `syncBeneath`.
 *
 * @param from canonical, as is `to`
 * @param name relative path, byte by byte (latin1), for names need not be UTF-8
 * @returns false when there is nothing to move, no directory to move it to, or something in its place
 */
export function renameBeneath(from: string, to: string, name: string): boolean {
  const parts = name.split('/')
  const base = parts.pop() ?? ''
  if ([base, ...parts].some(part => part === '' || part === '.' || part === '..')) return false
  const source = openBeneath(from, parts)
  if (source === null) return false
  try {
    const target = openBeneath(to, parts)
    if (target === null) return false
    try {
      const [here, there] = [through(source, base), through(target, base)]
      if (!nameExists(here) || nameExists(there)) return false
      renameSync(here, there)
      return true
    } finally {
      closeSync(target)
    }
  } finally {
    closeSync(source)
  }
}

/** Makes the names in a directory below another one durable; one that is not there has none. */
export function syncBeneath(root: string, directory: string): void {
  const fd = openBeneath(root, directory === '' ? [] : directory.split('/'))
  if (fd === null) return
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** A descriptor of a directory below another one; null where it is not there, or no directory. */
function openBeneath(root: string, parts: readonly string[]): number | null {
  let fd: number | null = null
  try {
    const { directory, name } = splitPath(root)
    fd = whileHeld(directory, held => openSync(held.at(name), FLAGS))
    for (const part of parts) {
      const next: number = openSync(through(fd, part), FLAGS)
      closeSync(fd)
      fd = next
    }
    return fd
  } catch (error) {
    if (fd !== null) closeSync(fd)
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error) ?? '')) return null
    throw error
  }
}

function through(fd: number, name: string): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${fd}/`), Buffer.from(name, 'latin1')])
}
