import { randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { PutObjectCommandInput } from '@aws-sdk/client-s3'
import { NexusError } from '../../../errors.js'
import { mapParallel } from '../../parallel.js'
import type { Bucket } from './bucket.js'
import { assertEncrypted, encryptionOf } from './encryption-at-rest.js'
import { isDenied } from './faults.js'
import { retentionOf } from './retention.js'

/** Requests under way at the same time where many small ones are made. */
const PARALLEL = 16

/** Bytes of an object. Throws `not-found` when absent. */
export async function sizeOfObject(bucket: Bucket, name: string): Promise<number> {
  const { ContentLength = 0 } = await bucket.request('looking at', name, (client, sdk) =>
    client.send(new sdk.HeadObjectCommand(bucket.at(name))),
  )
  return ContentLength
}

/** The whole of a small object. Throws `not-found` when absent, `damage` when larger than `limit` bytes. */
export async function getSmall(bucket: Bucket, name: string, limit: number): Promise<Buffer> {
  for (let attempt = 1; ; attempt += 1) {
    const { Body, ContentLength = -1 } = await bucket.request('reading', name, (client, sdk) =>
      client.send(new sdk.GetObjectCommand(bucket.at(name))),
    )
    if (ContentLength > limit) {
      ;(Body as { destroy?(): void } | undefined)?.destroy?.()
      throw new NexusError(
        'damage',
        'file_too_large',
        `${bucket.displayed(name)} has ${ContentLength} bytes where at most ${limit} are believed`,
      )
    }
    try {
      const bytes = Buffer.from((await Body?.transformToByteArray()) ?? [])
      if (bytes.byteLength === ContentLength) return bytes
      if (attempt === BODY_ATTEMPTS) throw cutShort(bucket, name, bytes.byteLength, ContentLength)
    } catch (error) {
      // The SDK tries again only until the answer has begun.
      if (attempt === BODY_ATTEMPTS) await bucket.request('reading', name, () => Promise.reject(error))
    }
  }
}

/** Attempts at an answer whose body breaks off. */
export const BODY_ATTEMPTS = 6

export function cutShort(bucket: Bucket, name: string, end: number, size: number): NexusError {
  const message = `reading ${bucket.displayed(name)} failed: the answer ended after ${end} of ${size} bytes, again and again`
  return new NexusError('failed', 'answer_cut_short', message, {
    hint: 'look at the log of the server and at proxies on the way',
  })
}

/** Writes a whole object in place of the one that may be there. */
export async function put(bucket: Bucket, name: string, bytes: Uint8Array, kept: Kept = {}): Promise<void> {
  const command = { ...bucket.at(name), Body: bytes, ...encryptionOf(bucket), ...keptOf(bucket, kept) }
  await bucket.request('writing', name, (client, sdk) => client.send(new sdk.PutObjectCommand(command)))
  await assertEncrypted(bucket, name)
}

/**
 * Writes a whole object unless one of that name is there: the one step on which leases and "written once" rest.
 * @returns false when there is one, with other bytes
 * @throws NexusError failed `conditional_write_missing` for a server that cannot do it
 */
export async function putOnce(bucket: Bucket, name: string, bytes: Uint8Array, kept: Kept = {}): Promise<boolean> {
  const outcome = await putConditionally(bucket, name, bytes, kept)
  if (outcome === 'written') await assertEncrypted(bucket, name)
  // An answer that was lost on the way: the second attempt met what the first had written.
  return outcome === 'perhaps ours' ? await holdsExactly(bucket, name, bytes) : outcome === 'written'
}

/** Writes what was just written once more: whoever lets that happen does not know the condition. */
export async function assertConditional(bucket: Bucket, name: string, bytes: Uint8Array): Promise<void> {
  if ((await putConditionally(bucket, name, bytes)) === 'written') throw noConditionalWrites(bucket)
}

async function putConditionally(
  bucket: Bucket,
  name: string,
  bytes: Uint8Array,
  kept: Kept = {},
): Promise<'written' | 'there' | 'perhaps ours'> {
  const command = {
    ...bucket.at(name),
    Body: bytes,
    IfNoneMatch: '*',
    ...encryptionOf(bucket),
    ...keptOf(bucket, kept),
  }
  for (let attempt = 1; ; attempt += 1) {
    const outcome = await bucket.request('writing', name, async (client, sdk) => {
      try {
        await client.send(new sdk.PutObjectCommand(command))
        return 'written'
      } catch (error) {
        const { $metadata } = error as { $metadata?: { httpStatusCode?: number; attempts?: number } }
        if ($metadata?.httpStatusCode === 412) return ($metadata.attempts ?? 1) > 1 ? 'perhaps ours' : 'there'
        // Somebody else writes it at this moment.
        if ($metadata?.httpStatusCode === 409 && attempt < CONFLICTS) return 'again'
        if ($metadata?.httpStatusCode === 501) throw noConditionalWrites(bucket, error)
        throw error
      }
    })
    if (outcome !== 'again') return outcome
    await sleep(CONFLICT_PAUSE_MS * attempt + randomInt(CONFLICT_PAUSE_MS))
  }
}

/** Attempts at a name that somebody else is writing: soon it is written, and the answer is 412. */
const CONFLICTS = 10
/** Between two of them, and longer each time: an upload of the other takes its time. */
const CONFLICT_PAUSE_MS = 50

/** How an object is kept. */
export interface Kept {
  /** Undefined: the bucket's own class. */
  storageClass?: string | undefined
  /** Locked as the repository wants its backups; an object that is replaced or removed in everyday work is not. */
  locked?: boolean
}

/** What a request that writes says of class and lock; the SDK knows AWS's classes, other servers have others. */
export function keptOf(bucket: Bucket, { storageClass, locked = false }: Kept): Partial<PutObjectCommandInput> {
  return {
    ...(storageClass === undefined ? {} : { StorageClass: storageClass as 'STANDARD' }),
    ...(locked ? retentionOf(bucket) : {}),
  }
}

/** Whether an object is there with these very bytes. */
export async function holdsExactly(bucket: Bucket, name: string, bytes: Uint8Array): Promise<boolean> {
  try {
    return (await getSmall(bucket, name, bytes.byteLength)).equals(bytes)
  } catch (error) {
    if (error instanceof NexusError && (error.kind === 'damage' || error.kind === 'not-found')) return false
    throw error
  }
}

function noConditionalWrites(bucket: Bucket, cause?: unknown): NexusError {
  return new NexusError(
    'failed',
    'conditional_write_missing',
    `the server of ${bucket.location} cannot write an object only where there is none (If-None-Match: *)`,
    {
      cause,
      hint: 'without it two runs could overwrite each other, so nothing is written there; AWS, MinIO and Ceph can, but Ceph 16 not in a bucket with versions; what is there can be read all the same',
    },
  )
}

/** Removes objects, several at a time; an absent one is no error. */
export async function removeObjects(bucket: Bucket, names: readonly string[]): Promise<void> {
  await mapParallel(names, PARALLEL, name =>
    bucket.request('removing', name, (client, sdk) => client.send(new sdk.DeleteObjectCommand(bucket.at(name)))),
  )
}

/** Removes what only tidiness wants gone; credentials that may not delete are no reason to fail. */
export async function removeIfAllowed(bucket: Bucket, names: readonly string[]): Promise<void> {
  try {
    await removeObjects(bucket, names)
  } catch (error) {
    if (!isDenied(error)) throw error
  }
}
