import type { CompletedPart } from '@aws-sdk/client-s3'
import { NexusError } from '../../../errors.js'
import type { Bucket } from './bucket.js'
import { assertEncrypted, encryptionOf } from './encryption-at-rest.js'

/** An upload in parts: invisible until it is completed, and kept by the server (and paid for) until it is aborted. */
export class Upload {
  readonly #bucket: Bucket
  readonly #name: string
  readonly #id: string
  readonly #done: CompletedPart[] = []
  readonly #underWay = new Set<Promise<void>>()
  readonly #stop = new AbortController()
  #failure: unknown

  private constructor(bucket: Bucket, name: string, id: string) {
    this.#bucket = bucket
    this.#name = name
    this.#id = id
  }

  static async begin(bucket: Bucket, name: string, storageClass: string | undefined): Promise<Upload> {
    const { UploadId } = await bucket.request('writing', name, (client, sdk) =>
      client.send(
        new sdk.CreateMultipartUploadCommand({
          ...bucket.at(name),
          ...encryptionOf(bucket),
          ...(storageClass === undefined ? {} : { StorageClass: storageClass as 'STANDARD' }),
        }),
      ),
    )
    if (UploadId === undefined)
      throw new NexusError('failed', 'repository_error', `the server gave no upload for ${name}`)
    return new Upload(bucket, name, UploadId)
  }

  /**
   * Sends a part, whose memory must not change until it has arrived, and returns when at most `limit` are under way.
   * Throws what went wrong with any part.
   */
  async send(number: number, bytes: Buffer, limit: number): Promise<void> {
    const sending = this.#put(number, bytes)
      .catch(error => {
        this.#failure ??= error
      })
      .finally(() => this.#underWay.delete(sending))
    this.#underWay.add(sending)
    while (this.#underWay.size > limit) await Promise.race(this.#underWay)
    if (this.#failure !== undefined) throw this.#failure
  }

  async #put(number: number, bytes: Buffer): Promise<void> {
    const part = { ...this.#bucket.at(this.#name), UploadId: this.#id, PartNumber: number, Body: bytes }
    const { ETag, ChecksumCRC32 } = await this.#bucket.request('writing', this.#name, (client, sdk) =>
      client.send(new sdk.UploadPartCommand(part), { abortSignal: this.#stop.signal }),
    )
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
export async function abortUploads(bucket: Bucket, directory: string): Promise<string[]> {
  const names: string[] = []
  const prefix = bucket.keyOf('') === '' ? '' : `${bucket.settings.prefix}/`
  for (;;) {
    const { Uploads = [], IsTruncated } = await bucket.request('listing uploads of', directory, (client, sdk) =>
      client.send(
        new sdk.ListMultipartUploadsCommand({ Bucket: bucket.settings.bucket, Prefix: `${bucket.keyOf(directory)}/` }),
      ),
    )
    for (const { Key = '', UploadId = '' } of Uploads) {
      const name = Key.slice(prefix.length)
      await abortUpload(bucket, name, UploadId)
      names.push(name)
    }
    // What was aborted is listed no more: the first page is always the next.
    if (IsTruncated !== true || Uploads.length === 0) return names
  }
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
