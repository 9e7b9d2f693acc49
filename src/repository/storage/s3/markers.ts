import * as v from 'valibot'
import { NexusError } from '../../../errors.js'
import { parseOutsideJson, prettyJson } from '../../json.js'
import { FORMAT } from '../../manifest.js'
import type { Bucket } from './bucket.js'
import { listLevel } from './listing.js'
import { getSmall, put, putOnce } from './objects.js'

/**
 * `SOURCE/.pending/ID`: made before the first part of a backup and removed after its manifest; made again, as
 * `removing`, before the manifest is removed. So an ID with neither manifest nor marker is damage, never a leftover.
 */
export type MarkerState = 'writing' | 'removing'

const markersDirectory = '.pending'
const markerLimit = 4096
const markerSchema = v.looseObject({ format: v.literal(FORMAT), state: v.picklist(['writing', 'removing']) })

/** Whether a directory's name is that of markers, which no listing shows. */
export function isMarkers(name: string): boolean {
  return name === markersDirectory
}

/** The marker of a backup `PARENT/ID`. */
export function markerOf(directory: string): string {
  const cut = directory.lastIndexOf('/') + 1
  return `${directory.slice(0, cut)}${markersDirectory}/${directory.slice(cut)}`
}

function format(state: MarkerState): Buffer {
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

/** The state of a marker; undefined when there is none (any more). Throws `damage` for what is none of ours. */
export async function readMarker(bucket: Bucket, directory: string): Promise<MarkerState | undefined> {
  const name = markerOf(directory)
  let bytes: Buffer
  try {
    bytes = await getSmall(bucket, name, markerLimit)
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'not-found') return undefined
    throw error
  }
  try {
    return v.parse(markerSchema, parseOutsideJson(bytes)).state
  } catch (cause) {
    throw new NexusError('damage', 'marker_damaged', `${bucket.displayed(name)} is not a marker of nexus-backup`, {
      cause,
      hint: 'find out who wrote it; when no nexus-backup runs, remove it',
    })
  }
}

/** Ids that have a marker below a directory. */
export async function markedIds(bucket: Bucket, parent: string): Promise<string[]> {
  const { files } = await listLevel(bucket, `${parent}/${markersDirectory}`)
  return files.map(({ name }) => name)
}
