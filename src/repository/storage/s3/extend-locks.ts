import { randomInt } from 'node:crypto'
import { NexusError } from '../../../errors.js'
import { mapParallel } from '../../parallel.js'
import type { Needs } from '../storage.js'
import type { Bucket } from './bucket.js'
import { isDenied } from './faults.js'
import { type Listed, listBelow } from './listing.js'
import { beyond, isLongEnough, newLockEnd, writtenLock } from './retention.js'

/** Requests under way at the same time. */
const PARALLEL = 32
/** Single files whose locks are looked at before those of all are believed, beside the first and the last. */
const SAMPLES = 6

/**
 * Extends the locks of all objects below these directories, so that what depends on them stays restorable. A lock that
 * lasts nearly as long as wanted is left as it is (`isLongEnough`), so this is seldom more than a look.
 * @param date until when, where that is later than a new object would be locked
 * @returns how many of the directories were extended
 */
export async function extendLocks(
  bucket: Bucket,
  directories: readonly string[],
  { probe, date }: { probe: string; date?: Date | undefined },
): Promise<number> {
  if (bucket.settings.objectLock === undefined) return 0
  const due = await mapParallel(directories, PARALLEL, async directory => {
    const until = await retainedUntil(bucket, `${directory}/${probe}`)
    return isLongEnough(bucket, until, laterOf(bucket, date)) ? [] : [directory]
  })
  for (const directory of due.flat()) {
    const names = (await listBelow(bucket, directory)).map(({ name }) => `${directory}/${name}`)
    // Its first file tells the next run, so it comes last.
    const others = names.filter(name => !name.endsWith(`/${probe}`))
    await extendAll(bucket, [`${directory}/${probe}`, ...others], laterOf(bucket, date))
  }
  return due.flat().length
}

/**
 * Extends the locks of single files, of which there may be many thousands, named oldest first. A look at a few tells
 * whether it is time: the first is extended last, so it says that the last run came to its end; the last says whether
 * whoever writes them locks as long as is wanted here; some in between, drawn anew each time, keep both honest.
 * @returns how many were extended
 */
export async function extendFileLocks(bucket: Bucket, names: readonly string[]): Promise<number> {
  if (bucket.settings.objectLock === undefined) return 0
  const present = (await filesOf(bucket, names)).map(({ name }) => name)
  const looks = await mapParallel(sampleOf(present), PARALLEL, async name =>
    isLongEnough(bucket, await retainedUntil(bucket, name)),
  )
  if (looks.every(Boolean)) return 0
  await extendAll(bucket, present, newLockEnd(bucket))
  return present.length
}

/**
 * Extends the locks of files without which no backup can be restored: there are few, so each is looked at, and each
 * outlasts every backup by what locks may lack.
 * @returns how many were extended
 */
export async function extendCommonLocks(bucket: Bucket, names: readonly string[], needs: Needs): Promise<number> {
  if (bucket.settings.objectLock === undefined) return 0
  const locks = await mapParallel(names, PARALLEL, async name => ({ name, until: await retainedUntil(bucket, name) }))
  const isFirst = locks.some(({ until }) => until === undefined)
  const wanted = [laterOf(bucket, needs.date), isFirst ? await needs.longest() : undefined]
  const end = wanted.reduce((latest, date) => (date !== undefined && (latest ?? date) <= date ? date : latest))
  if (end === undefined) return 0
  const until = beyond(bucket, end)
  const due = locks.filter(lock => !isLongEnough(bucket, lock.until, until)).map(({ name }) => name)
  await extendAll(bucket, due, until)
  return due.length
}

/**
 * Until when single files are locked, named oldest first, in their order; undefined for what is not. Where the newest one
 * is, the time of writing tells it of younger ones without a request for each, never later than the newest: whoever wants
 * to remove them then only waits a little longer than he would have to.
 */
export async function fileLocks(bucket: Bucket, names: readonly string[]): Promise<(Date | undefined)[]> {
  if (bucket.settings.objectLock === undefined) return names.map(() => undefined)
  const found = new Map((await filesOf(bucket, names)).map(file => [file.name, file]))
  const newest = names.findLast(name => found.has(name))
  const last = newest === undefined ? undefined : await lockedUntil(bucket, newest)
  return mapParallel(names, PARALLEL, async name => {
    const file = found.get(name)
    if (file === undefined) return undefined
    if (name === newest) return last
    const first = writtenLock(bucket, file.modified)
    if (last !== undefined && first > bucket.serverNow()) return first < last ? first : last
    return lockedUntil(bucket, name)
  })
}

/** Those of these files that are there, in their order, each directory listed once. */
export async function filesOf(bucket: Bucket, names: readonly string[]): Promise<Listed[]> {
  const found = new Map<string, Listed>()
  for (const parent of new Set(names.map(name => name.slice(0, name.lastIndexOf('/'))))) {
    for (const file of await listBelow(bucket, parent)) {
      const name = `${parent}/${file.name}`
      found.set(name, { ...file, name })
    }
  }
  return names.flatMap(name => found.get(name) ?? [])
}

function sampleOf(names: readonly string[]): string[] {
  const drawn = Array.from({ length: names.length > 2 ? SAMPLES : 0 }, () => names[randomInt(names.length)])
  return [...new Set([names[0], names.at(-1), ...drawn])].filter(name => name !== undefined)
}

/** A new object's lock end, or a later date. */
function laterOf(bucket: Bucket, date: Date | undefined): Date | undefined {
  const end = newLockEnd(bucket)
  return end === undefined || date === undefined || date < end ? end : date
}

/** The first comes last. */
async function extendAll(bucket: Bucket, [first, ...rest]: readonly string[], until: Date | undefined): Promise<void> {
  if (until === undefined) return
  await mapParallel(rest, PARALLEL, name => extend(bucket, name, until))
  if (first !== undefined) await extend(bucket, first, until)
}

async function extend(bucket: Bucket, name: string, until: Date): Promise<void> {
  const Mode = bucket.settings.objectLock?.mode
  try {
    await bucket.request('extending the lock of', name, (client, sdk) =>
      client.send(
        new sdk.PutObjectRetentionCommand({ ...bucket.at(name), Retention: { Mode, RetainUntilDate: until } }),
      ),
    )
  } catch (error) {
    // Somebody removed it, or gave it a longer lock, which nobody can shorten.
    if (error instanceof NexusError && error.kind === 'not-found') return
    if (isDenied(error) && ((await retainedUntil(bucket, name)) ?? new Date(0)) >= until) return
    throw error
  }
}

/** Until when an object is locked, or undefined; also for one that is not there. */
async function retainedUntil(bucket: Bucket, name: string): Promise<Date | undefined> {
  return bucket.request('looking at', name, async (client, sdk) => {
    try {
      return (await client.send(new sdk.HeadObjectCommand(bucket.at(name)))).ObjectLockRetainUntilDate
    } catch (error) {
      if ((error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode === 404) return undefined
      throw error
    }
  })
}

/** Until when an object is locked; undefined where that is past. */
export async function lockedUntil(bucket: Bucket, name: string): Promise<Date | undefined> {
  const until = await retainedUntil(bucket, name)
  return until !== undefined && until > bucket.serverNow() ? until : undefined
}
