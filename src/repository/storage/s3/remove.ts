import { manifestFile, partialPrefix } from '../../layout.js'
import type { Bucket } from './bucket.js'
import { listBelow } from './listing.js'
import { isMarked, markedIds, markerOf, markRemoving } from './markers.js'
import { removeIfAllowed, removeObjects } from './objects.js'
import type { Guard } from './pending.js'
import { abortUploads } from './upload.js'

/**
 * Removes a backup: the marker comes first, then the manifest goes, and with it the backup, then the parts, then the marker.
 * Repeatable wherever it was interrupted. Returns bytes freed.
 */
export async function removeBackup(bucket: Bucket, directory: string, guard: Guard): Promise<number> {
  const found = await listBelow(bucket, directory)
  if (found.length === 0 && !(await isMarked(bucket, directory))) return 0
  await guard.renew()
  await markRemoving(bucket, directory)
  return await finishRemoval(bucket, directory, found, guard)
}

/** A copy may bring the same backup again: whoever slept meanwhile must not take its parts away. */
async function finishRemoval(
  bucket: Bucket,
  directory: string,
  found: readonly { name: string; size: number }[],
  guard: Guard,
): Promise<number> {
  if (found.some(({ name }) => name === manifestFile)) await removeObjects(bucket, [`${directory}/${manifestFile}`])
  const rest = found.filter(({ name }) => name !== manifestFile).map(({ name }) => `${directory}/${name}`)
  await removeWhileHeld(bucket, rest, guard)
  await removeWhileHeld(bucket, [markerOf(directory)], guard)
  return found.reduce((sum, { size }) => sum + size, 0)
}

/**
 * Frees what killed runs left below a source: unfinished uploads, and the parts of backups that have a marker and no manifest.
 * A marker beside a whole backup is only removed itself: it may be anybody's. The caller holds the writer lease. Returns the
 * names, as a directory has them.
 * @param guard asked before each step, as below
 */
export async function removeS3Leftovers(bucket: Bucket, parent: string, guard: Guard): Promise<string[]> {
  const [ids] = await Promise.all([markedIds(bucket, parent), abortUploads(bucket, parent)])
  const names: string[] = []
  for (const id of ids.sort()) {
    if (await clean(bucket, `${parent}/${id}`, guard)) names.push(partialPrefix + id)
  }
  return names
}

/** Whether the backup was a leftover; a committed one loses only its marker. */
async function clean(bucket: Bucket, directory: string, guard: Guard): Promise<boolean> {
  const found = await listBelow(bucket, directory)
  if (found.some(({ name }) => name === manifestFile)) {
    await removeIfAllowed(bucket, [markerOf(directory)])
    return false
  }
  await finishRemoval(bucket, directory, found, guard)
  return true
}

/** Files removed before the next ones are begun, so that a killed run never removed a later one and kept an earlier one. */
const REMOVED_AT_ONCE = 64

/**
 * Removes single objects in this order; absent ones are passed over. Returns bytes freed.
 * @param guard asked before each step: a run that lost its lease removes nothing more
 */
export async function removeS3Files(bucket: Bucket, names: readonly string[], guard: Guard): Promise<number> {
  const sizes = new Map<string, number>()
  for (const parent of new Set(names.map(name => name.slice(0, name.lastIndexOf('/'))))) {
    for (const { name, size } of await listBelow(bucket, parent)) sizes.set(`${parent}/${name}`, size)
  }
  const present = names.filter(name => sizes.has(name))
  await removeWhileHeld(bucket, present, guard)
  return present.reduce((sum, name) => sum + (sizes.get(name) ?? 0), 0)
}

async function removeWhileHeld(bucket: Bucket, names: readonly string[], guard: Guard): Promise<void> {
  for (let from = 0; from < names.length; from += REMOVED_AT_ONCE) {
    await guard.assertHeld()
    await removeObjects(bucket, names.slice(from, from + REMOVED_AT_ONCE))
  }
}
