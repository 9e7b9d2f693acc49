import { createHash, randomBytes, randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { PutObjectCommandInput } from '@aws-sdk/client-s3'
import { NexusError } from '../../../errors.js'
import { partialPrefix } from '../../layout.js'
import { mapParallel } from '../../parallel.js'
import type { Bucket } from './bucket.js'
import { assertEncrypted, encryptionOf } from './encryption-at-rest.js'
import { isDenied } from './faults.js'
import { intoAnother } from './locking.js'
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
  await putWhole(bucket, name, bytes, kept)
}

/** Returns the ETag that the server gave it. */
async function putWhole(bucket: Bucket, name: string, bytes: Uint8Array, kept: Kept): Promise<string | undefined> {
  const command = { ...bucket.at(name), Body: bytes, ...encryptionOf(bucket), ...keptOf(bucket, kept, bytes) }
  const send = bucket.request('writing', name, (client, sdk) => client.send(new sdk.PutObjectCommand(command)))
  const { ETag } = await send
  await assertEncrypted(bucket, name)
  return ETag
}

/**
 * Writes a whole object unless one of that name is there: the one step on which "written once" rests. On a store without
 * conditional writes it looks before it writes and afterwards; of two who write at the same moment one may not see the other.
 * @returns false when there is one, with other bytes
 * @throws NexusError failed `conditional_write_missing` for a server that cannot do it
 */
export async function putOnce(bucket: Bucket, name: string, bytes: Uint8Array, kept: Kept = {}): Promise<boolean> {
  if (bucket.locking === 'single-writer') {
    if (await isThere(bucket, name)) return false
    const etag = await putWhole(bucket, name, bytes, kept)
    return holdsWritten(bucket, name, bytes, etag)
  }
  const outcome = await putConditionally(bucket, name, bytes, kept)
  if (outcome === 'written') await assertEncrypted(bucket, name)
  // An answer that was lost on the way: the second attempt met what the first had written.
  return outcome === 'perhaps ours' ? await holdsExactly(bucket, name, bytes) : outcome === 'written'
}

async function isThere(bucket: Bucket, name: string): Promise<boolean> {
  try {
    await sizeOfObject(bucket, name)
    return true
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'not-found') return false
    throw error
  }
}

/** Objects up to this size are read back whole, larger ones are known by size and ETag. */
const READ_BACK = 1024 * 1024

/** Whether an object is what was just written, and not what somebody else wrote at the same moment. */
async function holdsWritten(
  bucket: Bucket,
  name: string,
  bytes: Uint8Array,
  etag: string | undefined,
): Promise<boolean> {
  if (bytes.byteLength <= READ_BACK || etag === undefined) return holdsExactly(bucket, name, bytes)
  const { ContentLength, ETag } = await bucket.request('looking at', name, (client, sdk) =>
    client.send(new sdk.HeadObjectCommand(bucket.at(name))),
  )
  // Some servers quote it in one answer and not in the other.
  const bare = (tag: string | undefined) => tag?.replace(/^"|"$/g, '')
  return ContentLength === bytes.byteLength && bare(ETag) === bare(etag)
}

/** An object in the root that stands for nothing and goes at once. */
function probeName(): string {
  return `${partialPrefix}probe-${randomBytes(8).toString('hex')}`
}

/**
 * Makes sure, before anything else is written, that the server knows the condition on which a repository rests.
 * @throws NexusError failed `conditional_write_missing`; nothing stays behind
 */
export async function assertConditionalWrites(bucket: Bucket): Promise<void> {
  const name = probeName()
  const bytes = Buffer.from(name)
  try {
    await putOnce(bucket, name, bytes)
    await assertConditional(bucket, name, bytes)
  } catch (error) {
    // Why it fails says more than that the probe could not be removed either.
    await removeObjects(bucket, [name]).catch(() => undefined)
    throw error
  }
  await removeIfAllowed(bucket, [name])
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
    ...keptOf(bucket, kept, bytes),
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
        if ($metadata?.httpStatusCode === 400 && (await takesUnconditional(bucket))) {
          throw noConditionalWrites(bucket, error)
        }
        throw error
      }
    })
    if (outcome !== 'again') return outcome
    await sleep(CONFLICT_PAUSE_MS * attempt + randomInt(CONFLICT_PAUSE_MS))
  }
}

/** Whether the server takes a write without the condition: then it was the condition that it refused. */
async function takesUnconditional(bucket: Bucket): Promise<boolean> {
  const name = probeName()
  try {
    await put(bucket, name, Buffer.from(name))
  } catch {
    // The refusal itself is the error to report.
    return false
  }
  await removeIfAllowed(bucket, [name])
  return true
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

/**
 * What a request that writes says of class and lock; the SDK knows AWS's classes, other servers have others.
 * @param bytes what is written; undefined where parts follow
 */
export function keptOf(
  bucket: Bucket,
  { storageClass, locked = false }: Kept,
  bytes?: Uint8Array,
): Partial<PutObjectCommandInput> {
  return {
    ...(storageClass === undefined ? {} : { StorageClass: storageClass as 'STANDARD' }),
    ...(locked ? retentionOf(bucket) : {}),
    ...(locked && bytes !== undefined ? digestOfLocked(bucket, bytes) : {}),
  }
}

/** S3 takes bytes that are to be locked only with a digest of them; where the SDK sends none of its own, it is MD5. */
export function digestOfLocked({ settings }: Bucket, bytes: Uint8Array): { ContentMD5?: string } {
  if (settings.objectLock === undefined || settings.endpoint === undefined) return {}
  return { ContentMD5: createHash('md5').update(bytes).digest('base64') }
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
      hint: `two runs could overwrite each other, so nothing is written there. Where one host alone writes, make the repository with this line below s3 in the configuration: "locking: single-writer". One that is there keeps the locking it was made with: then ${intoAnother(bucket.location, 'single-writer')}. nexus-backup-repository(5) has a table of stores; Ceph 16 forgets the condition in a bucket with versions`,
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
