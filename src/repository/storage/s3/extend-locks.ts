import { mapParallel } from '../../parallel.js'
import type { Bucket } from './bucket.js'
import { listBelow } from './listing.js'
import { DAY_MS, newLockEnd } from './retention.js'

/**
 * Extends the locks of all objects below these directories, so that what depends on them stays restorable. Done once a day
 * at most: a lock that ends less than a day before the wanted date is left as it is.
 */
export async function extendLocks(bucket: Bucket, directories: readonly string[], probe: string): Promise<void> {
  const wanted = newLockEnd(bucket)
  const mode = bucket.settings.objectLock?.mode
  if (wanted === undefined || mode === undefined) return
  const due = await mapParallel(directories, 16, async directory => {
    const until = await retainedUntil(bucket, `${directory}/${probe}`)
    return until === undefined || wanted.getTime() - until.getTime() > DAY_MS ? [directory] : []
  })
  for (const directory of due.flat()) {
    const names = (await listBelow(bucket, directory)).map(({ name }) => `${directory}/${name}`)
    // Its first file tells the next run, so it comes last.
    const first = names.filter(name => !name.endsWith(`/${probe}`))
    await mapParallel(first, 16, name => extend(bucket, name, mode, wanted))
    await extend(bucket, `${directory}/${probe}`, mode, wanted)
  }
}

async function extend(bucket: Bucket, name: string, Mode: 'GOVERNANCE' | 'COMPLIANCE', until: Date): Promise<void> {
  await bucket.request('extending the lock of', name, (client, sdk) =>
    client.send(new sdk.PutObjectRetentionCommand({ ...bucket.at(name), Retention: { Mode, RetainUntilDate: until } })),
  )
}

/** Until when an object is locked, or undefined; also for one that is not there. */
export async function retainedUntil(bucket: Bucket, name: string): Promise<Date | undefined> {
  return bucket.request('looking at', name, async (client, sdk) => {
    try {
      return (await client.send(new sdk.HeadObjectCommand(bucket.at(name)))).ObjectLockRetainUntilDate
    } catch (error) {
      if ((error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode === 404) return undefined
      throw error
    }
  })
}
