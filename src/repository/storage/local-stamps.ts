import { lstatSync, type Stats } from 'node:fs'
import { lstat } from 'node:fs/promises'
import { errnoOf } from '../../errors.js'
import { mapParallel } from '../parallel.js'
import type { Ground } from './ground.js'
import { at } from './reach.js'
import type { FileStamp } from './storage.js'

/** Files looked at one after another, in groups, to tell how long a look takes. */
const GROUP = 8
const GROUPS = 8
/** Milliseconds for a group where the disk is near. Elsewhere many looks under way at once are faster. */
const NEAR_MS = 1

/**
 * Stamps of the files below one directory, by names relative to it; undefined for what is no regular file or cannot be
 * looked at. A link in the place of a directory on the way leads to another file, which has another stamp.
 */
export function localStamps(
  ground: Ground,
  directory: string,
  names: readonly string[],
): Promise<(FileStamp | undefined)[]> {
  return at(ground, 'looking into', directory, async reach => {
    const base = await reach.directory(directory)
    const found: (FileStamp | undefined)[] = []
    let isNear = false
    for (let at = 0; at < names.length && (isNear || at < GROUP * GROUPS); at += GROUP) {
      const began = performance.now()
      for (const name of names.slice(at, at + GROUP)) found.push(stampNow(`${base}/${name}`))
      // Any group tells: a busy machine may make each of the others wait.
      isNear ||= performance.now() - began < NEAR_MS
    }
    const rest = names.slice(found.length)
    return [...found, ...(await mapParallel(rest, 16, name => stampLater(`${base}/${name}`)))]
  })
}

function stampNow(path: string): FileStamp | undefined {
  try {
    return stampOf(lstatSync(path, { throwIfNoEntry: false }))
  } catch (error) {
    return unlessOurs(error)
  }
}

async function stampLater(path: string): Promise<FileStamp | undefined> {
  try {
    return stampOf(await lstat(path))
  } catch (error) {
    return unlessOurs(error)
  }
}

/** Who reads the file tells why it cannot be looked at. */
function unlessOurs(error: unknown): undefined {
  if (errnoOf(error) === undefined) throw error
}

function stampOf(found: Stats | undefined): FileStamp | undefined {
  if (found?.isFile() !== true) return undefined
  const { dev, ino, size, mtimeMs, ctimeMs } = found
  return [dev, ino, size, mtimeMs, ctimeMs]
}
