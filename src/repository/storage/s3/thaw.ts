import { NexusError } from '../../../errors.js'
import { mapParallel } from '../../parallel.js'
import type { Bucket } from './bucket.js'
import { listBelow } from './listing.js'

/** Days that a thawed copy stays: longer than a restore, a drill and a weekend take. */
const DAYS = 7
/** Classes whose objects may have to be thawed; of the last one only those that nobody read for months. */
const classes: ReadonlySet<string | undefined> = new Set(['GLACIER', 'DEEP_ARCHIVE', 'INTELLIGENT_TIERING'])

interface Archived {
  name: string
  size: number
  storageClass: string
}

/**
 * Asks for the thaw of everything below these directories that lies in an archive, at the standard tier.
 * @throws NexusError failed `thaw_requested` while anything cannot be read yet: how long it takes, and that the same
 *   command goes on then
 */
export async function thaw(bucket: Bucket, directories: readonly string[]): Promise<void> {
  const listed = await mapParallel(directories, 8, async directory =>
    (await listBelow(bucket, directory)).map(({ name, size, storageClass = '' }) => ({
      name: `${directory}/${name}`,
      size,
      storageClass,
    })),
  )
  const archived = listed.flat().filter(({ storageClass, size }) => classes.has(storageClass) && size > 0)
  const ready = await mapParallel(archived, 8, object => isReadable(bucket, object))
  const waiting = archived.filter((_, at) => !ready[at])
  if (waiting.length > 0) throw requested(bucket, waiting)
}

/** Reads a byte: some servers have the classes in name only, and a thawed copy reads as any other. */
async function isReadable(bucket: Bucket, { name }: Archived): Promise<boolean> {
  const isFrozen = await bucket.request('reading', name, async (client, sdk) => {
    try {
      const { Body } = await client.send(new sdk.GetObjectCommand({ ...bucket.at(name), Range: 'bytes=0-0' }))
      await Body?.transformToByteArray()
      return false
    } catch (error) {
      if ((error as { name?: string }).name === 'InvalidObjectState') return true
      throw error
    }
  })
  if (!isFrozen) return true
  await bucket.request('asking for the thaw of', name, async (client, sdk) => {
    const { Restore } = await client.send(new sdk.HeadObjectCommand(bucket.at(name)))
    if (Restore?.includes('ongoing-request="true"')) return
    const RestoreRequest = { Days: DAYS, GlacierJobParameters: { Tier: 'Standard' as const } }
    try {
      await client.send(new sdk.RestoreObjectCommand({ ...bucket.at(name), RestoreRequest }))
    } catch (error) {
      // Somebody else asked between our two requests.
      if ((error as { name?: string }).name !== 'RestoreAlreadyInProgress') throw error
    }
  })
  return false
}

function requested(bucket: Bucket, waiting: readonly Archived[]): NexusError {
  const bytes = waiting.reduce((sum, { size }) => sum + size, 0)
  const isDeep = waiting.some(({ storageClass }) => storageClass === 'DEEP_ARCHIVE')
  const names = [...new Set(waiting.map(({ storageClass }) => storageClass))].join(' and ')
  const what = waiting.length === 1 ? '1 file' : `${waiting.length} files`
  return new NexusError(
    'failed',
    'thaw_requested',
    `${what} of the backup (${Math.ceil(bytes / 1e6)} MB) in ${bucket.location} lie in ${names} and must be thawed first; that was asked for`,
    {
      // docs.aws.amazon.com/AmazonS3/latest/userguide/restoring-objects-retrieval-options.html
      hint: `AWS takes ${isDeep ? 'up to 12 hours' : '3 to 5 hours'}; run the same command again then, it goes on; the thawed copies stay for ${DAYS} days`,
    },
  )
}
