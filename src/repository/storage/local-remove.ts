import { lstat, readdir, rename, rm, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { errnoOf } from '../../errors.js'
import { partialPrefix } from '../layout.js'
import { at, checkedDirectory, checkedPathOf, type Ground, syncDirectory } from './ground.js'
import { exists } from './local-write.js'

/** Takes a name out of sight by one rename, then frees it. Returns bytes freed; 0 when nothing was there. */
export function removeLocal(ground: Ground, name: string): Promise<number> {
  return at(ground, 'removing', name, async () => {
    const path = await orGone(checkedPathOf(ground, name))
    if (path === undefined) return 0
    const parent = dirname(path)
    const hidden = join(parent, partialPrefix + basename(path))
    // Of an earlier removal that was killed half-way.
    const before = await free(hidden)
    if (!(await exists(path))) {
      await syncDirectory(parent)
      return before
    }
    await rename(path, hidden)
    await syncDirectory(parent)
    const freed = await free(hidden)
    await syncDirectory(parent)
    return before + freed
  })
}

/** Removes one file durably; an absent one is no error. */
export function removeLocalFile(ground: Ground, name: string): Promise<void> {
  return at(ground, 'removing', name, async () => {
    const path = await orGone(checkedPathOf(ground, name))
    if (path === undefined) return
    await orGone(unlink(path))
    await syncDirectory(dirname(path))
  })
}

/** Removes `.partial-*` directly under a directory, and nothing else. Returns their names. */
export function removeLocalLeftovers(ground: Ground, parent: string): Promise<string[]> {
  return at(ground, 'removing', parent === '' ? `${partialPrefix}*` : `${parent}/${partialPrefix}*`, async () => {
    const path = await orGone(checkedDirectory(ground, parent))
    if (path === undefined) return []
    const names = (await readdir(path)).filter(name => name.startsWith(partialPrefix)).sort()
    for (const name of names) await rm(join(path, name), { recursive: true, force: true })
    if (names.length > 0) await syncDirectory(path)
    return names
  })
}

async function orGone<T>(looking: Promise<T>): Promise<T | undefined> {
  try {
    return await looking
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}

async function free(path: string): Promise<number> {
  const bytes = await sizeOf(path)
  await rm(path, { recursive: true, force: true })
  return bytes
}

/** Bytes of the regular files at and below a path; links are not followed. */
async function sizeOf(path: string): Promise<number> {
  const found = await orGone(lstat(path))
  if (found === undefined) return 0
  if (!found.isDirectory()) return found.isFile() ? found.size : 0
  let total = 0
  for (const name of await readdir(path)) total += await sizeOf(join(path, name))
  return total
}
