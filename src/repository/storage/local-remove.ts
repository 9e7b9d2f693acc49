import { lstat, readdir, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { errnoOf } from '../../errors.js'
import { removeTree } from '../../system/names.js'
import { partialPrefix } from '../layout.js'
import { type Ground, syncDirectory } from './ground.js'
import { exists } from './local-write.js'
import { at } from './reach.js'

/** Takes a name out of sight by one rename, then frees it. Returns bytes freed; 0 when nothing was there. */
export function removeLocal(ground: Ground, name: string): Promise<number> {
  return at(ground, 'removing', name, async reach => {
    const path = await orGone(reach.pathOf(name))
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
  return at(ground, 'removing', name, async reach => {
    const path = await orGone(reach.pathOf(name))
    if (path === undefined) return
    await orGone(unlink(path))
    await syncDirectory(dirname(path))
  })
}

/** Files after which their directories are synced, so that a power cut cannot remove a later one and keep an earlier one. */
const REMOVED_AT_ONCE = 64

/** Removes files in this order, durably; absent ones are passed over. Returns bytes freed. */
export async function removeLocalFiles(ground: Ground, names: readonly string[]): Promise<number> {
  let freed = 0
  for (let from = 0; from < names.length; from += REMOVED_AT_ONCE) {
    const parents = new Set<string>()
    for (const name of names.slice(from, from + REMOVED_AT_ONCE)) {
      await at(ground, 'removing', name, async reach => {
        const path = await orGone(reach.pathOf(name))
        if (path === undefined) return
        const bytes = await sizeOf(path)
        await orGone(unlink(path))
        freed += bytes
        parents.add(name.slice(0, Math.max(0, name.lastIndexOf('/'))))
      })
    }
    for (const parent of parents) {
      await at(ground, 'removing', parent, async reach => syncDirectory(await reach.directory(parent)))
    }
  }
  return freed
}

/**
 * Removes `.partial-*` directly under a directory, and nothing else. Returns their names.
 * @param before when given, only what was changed last before it
 */
export function removeLocalLeftovers(ground: Ground, parent: string, before?: Date): Promise<string[]> {
  return at(ground, 'removing', parent === '' ? `${partialPrefix}*` : `${parent}/${partialPrefix}*`, async reach => {
    const path = await orGone(reach.directory(parent))
    if (path === undefined) return []
    const found = (await readdir(path)).filter(name => name.startsWith(partialPrefix)).sort()
    const names: string[] = []
    for (const name of found) if (before === undefined || (await isOlder(join(path, name), before))) names.push(name)
    for (const name of names) removeTree(join(path, name))
    if (names.length > 0) await syncDirectory(path)
    return names
  })
}

async function isOlder(path: string, before: Date): Promise<boolean> {
  const found = await orGone(lstat(path))
  return found !== undefined && found.mtimeMs < before.getTime()
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
  removeTree(path)
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
