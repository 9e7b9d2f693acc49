import { NexusError } from '../../../errors.js'
import { prettyJson } from '../../json.js'
import { isBackupId } from '../../layout.js'
import { FORMAT } from '../../manifest.js'
import type { Bucket } from './bucket.js'
import { listLevel } from './listing.js'
import { put, putOnce, sizeOfObject } from './objects.js'

/**
 * `SOURCE/.pending/ID`: made before the first part of a backup and removed after its manifest; made again before the
 * manifest is removed. So an ID with neither manifest nor marker is damage, never a leftover.
 *
 * Only its name counts, and only beside an ID without a manifest. Whoever may add objects can put a marker beside a whole
 * backup, or beside the directory of the log: neither hides anything, and neither makes the next run remove anything.
 */
const markersDirectory = '.pending'

/** Whether a directory's name is that of markers, which no listing shows. */
export function isMarkers(name: string): boolean {
  return name === markersDirectory
}

/** The marker of a backup `PARENT/ID`. */
export function markerOf(directory: string): string {
  const cut = directory.lastIndexOf('/') + 1
  return `${directory.slice(0, cut)}${markersDirectory}/${directory.slice(cut)}`
}

/** What it says is for whoever looks into the bucket, and for earlier versions. */
function format(state: 'writing' | 'removing'): Buffer {
  return prettyJson({ format: FORMAT, state })
}

/** Marks a backup as being written; false when it is marked already. */
export function markWriting(bucket: Bucket, directory: string): Promise<boolean> {
  return putOnce(bucket, markerOf(directory), format('writing'))
}

/** Marks a backup as on its way out, whatever it was before. */
export async function markRemoving(bucket: Bucket, directory: string): Promise<void> {
  await put(bucket, markerOf(directory), format('removing'))
}

/** Whether a backup has a marker. */
export async function isMarked(bucket: Bucket, directory: string): Promise<boolean> {
  try {
    await sizeOfObject(bucket, markerOf(directory))
    return true
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'not-found') return false
    throw error
  }
}

/** Ids of backups that have a marker below a directory; what has another name marks nothing. */
export async function markedIds(bucket: Bucket, parent: string): Promise<string[]> {
  const { files } = await listLevel(bucket, `${parent}/${markersDirectory}`)
  return files.flatMap(({ name }) => (isBackupId(name) ? [name] : []))
}
