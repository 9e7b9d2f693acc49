import type { CompletedPart } from '@aws-sdk/client-s3'
import { messageOf, NexusError } from '../../../errors.js'
import type { Bucket } from './bucket.js'
import { assertEncrypted, encryptionOf } from './encryption-at-rest.js'
import { digestOfLocked, type Kept, keptOf } from './objects.js'

/** An upload in parts: invisible until it is completed, and kept by the server (and paid for) until it is aborted. */
export class Upload {
  readonly #bucket: Bucket
  readonly #name: string
  readonly #id: string
  readonly #isLocked: boolean
  readonly #done: CompletedPart[] = []
  readonly #underWay = new Set<Promise<void>>()
  readonly #stop = new AbortController()
  #failure: unknown

  private constructor(bucket: Bucket, name: string, id: string, isLocked: boolean) {
    this.#isLocked = isLocked
    this.#bucket = bucket
    this.#name = name
    this.#id = id
  }

  static async begin(bucket: Bucket, name: string, kept: Kept): Promise<Upload> {
    const { UploadId, $metadata } = await bucket.request('writing', name, (client, sdk) =>
      client.send(
        new sdk.CreateMultipartUploadCommand({
          ...bucket.at(name),
          ...encryptionOf(bucket),
          ...keptOf(bucket, kept),
        }),
      ),
    )
    if (UploadId === undefined)
      throw new NexusError('failed', 'repository_error', `the server gave no upload for ${name}`)
    // An answer that was lost on the way: the first attempt's upload must not stay.
    if (($metadata.attempts ?? 1) > 1) await abortAll(bucket, { prefix: bucket.keyOf(name), except: UploadId })
    return new Upload(bucket, name, UploadId, kept.locked === true)
  }

  /**
   * Sends a part, whose memory must not change until it has arrived, and returns when at most `limit` are under way.
   * Throws what went wrong with any part.
   * @param arrived called when the memory is ours again
   */
  async send(number: number, bytes: Buffer, limit: number, arrived: () => void = () => {}): Promise<void> {
    const sending = this.#put(number, bytes)
      .then(arrived)
      .catch(error => {
        this.#failure ??= error
      })
      .finally(() => this.#underWay.delete(sending))
    this.#underWay.add(sending)
    while (this.#underWay.size > limit) await Promise.race(this.#underWay)
    if (this.#failure !== undefined) throw this.#failure
  }

  async #put(number: number, bytes: Buffer): Promise<void> {
    const digest = this.#isLocked ? digestOfLocked(this.#bucket, bytes) : {}
    const part = { ...this.#bucket.at(this.#name), UploadId: this.#id, PartNumber: number, Body: bytes, ...digest }
    const { ETag, ChecksumCRC32 } = await this.#bucket.request('writing', this.#name, async (client, sdk) => {
      try {
        return await client.send(new sdk.UploadPartCommand(part), { abortSignal: this.#stop.signal })
      } catch (error) {
        const { httpStatusCode: status } = (error as { $metadata?: { httpStatusCode?: number } }).$metadata ?? {}
        throw status === 400 && number > 1 ? partRefused(this.#bucket.displayed(this.#name), number, error) : error
      }
    })
    this.#done.push({ PartNumber: number, ETag, ...(ChecksumCRC32 === undefined ? {} : { ChecksumCRC32 }) })
  }

  /** Makes the object of its parts. */
  async complete(): Promise<void> {
    await Promise.all(this.#underWay)
    if (this.#failure !== undefined) throw this.#failure
    const Parts = this.#done.sort((a, b) => (a.PartNumber ?? 0) - (b.PartNumber ?? 0))
    await this.#bucket.request('writing', this.#name, async (client, sdk) => {
      try {
        await client.send(
          new sdk.CompleteMultipartUploadCommand({
            ...this.#bucket.at(this.#name),
            UploadId: this.#id,
            MultipartUpload: { Parts },
          }),
        )
      } catch (error) {
        // An answer that was lost on the way: the second attempt finds the upload completed. Commit compares the size.
        const { name, $metadata } = error as { name?: string; $metadata?: { attempts?: number } }
        if (name !== 'NoSuchUpload' || ($metadata?.attempts ?? 1) === 1) throw error
      }
    })
    await assertEncrypted(this.#bucket, this.#name)
  }

  /** Ends what is under way. */
  stop(): void {
    this.#stop.abort()
  }

  /** Gives it up and frees what the server keeps of it; one that is completed or gone is no error. */
  async abort(): Promise<void> {
    this.stop()
    await Promise.all(this.#underWay)
    await abortUpload(this.#bucket, this.#name, this.#id)
  }
}

/** Aborts every unfinished upload below a directory: of runs that were killed. The caller holds the writer lease. */
export async function abortUploads(bucket: Bucket, directory: string): Promise<void> {
  await abortAll(bucket, { prefix: `${bucket.keyOf(directory)}/`, except: undefined })
}

async function abortAll(
  bucket: Bucket,
  { prefix, except }: { prefix: string; except: string | undefined },
): Promise<void> {
  const root = bucket.settings.prefix === '' ? 0 : bucket.settings.prefix.length + 1
  let KeyMarker: string | undefined
  let UploadIdMarker: string | undefined
  do {
    const place = { Bucket: bucket.settings.bucket, Prefix: prefix, KeyMarker, UploadIdMarker }
    const page = await bucket.request('looking for unfinished uploads in', prefix.slice(root), (client, sdk) =>
      client.send(new sdk.ListMultipartUploadsCommand(place)),
    )
    for (const { Key = '', UploadId = '' } of page.Uploads ?? []) {
      if (UploadId !== except) await abortUpload(bucket, Key.slice(root), UploadId)
    }
    KeyMarker = page.IsTruncated === true ? page.NextKeyMarker : undefined
    UploadIdMarker = page.NextUploadIdMarker
  } while (KeyMarker !== undefined)
}

async function abortUpload(bucket: Bucket, name: string, id: string): Promise<void> {
  await bucket.request('removing', name, async (client, sdk) => {
    try {
      await client.send(new sdk.AbortMultipartUploadCommand({ ...bucket.at(name), UploadId: id }))
    } catch (error) {
      if ((error as { name?: string }).name !== 'NoSuchUpload') throw error
    }
  })
}

/** A part that is refused where those before it were taken: some stores let an upload have fewer parts than AWS does. */
function partRefused(path: string, number: number, cause: unknown): NexusError {
  const message = `writing ${path} failed: part ${number} of the upload was refused: ${messageOf(cause)}`
  return new NexusError('failed', 'part_refused', message, {
    cause,
    hint: `where the store lets an upload have ${number - 1} parts at most, write "max_parts: ${number - 1}" below s3 in the configuration`,
  })
}
