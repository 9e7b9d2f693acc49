import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { NexusError } from '../../../errors.js'
import { giveBack } from '../../../give-back.js'
import type { SequentialReader } from '../storage.js'
import type { Bucket } from './bucket.js'
import { BODY_ATTEMPTS, cutShort } from './objects.js'

/** The first range is small: many objects are, and many readers look only at the beginning. */
const FIRST_BYTES = 1024 * 1024
const RANGE_BYTES = 4 * 1024 * 1024
/** Ranges fetched before they are asked for: three hide the server's latency, and cost little memory. */
const AHEAD = 3

interface Opened {
  size: number
  etag: string | undefined
}

interface Range {
  from: number
  bytes: Promise<Buffer>
}

/**
 * Opens an object for reading from its beginning, by ranges and somewhat ahead. A range that breaks off goes on where
 * it stopped. Every range must carry the ETag of the object that was opened: one that was replaced meanwhile is damage.
 * (Ceph 16 compares If-Match wrongly, anchors/s3-server.md note 5, so the answers are compared here.)
 */
export async function openS3Reader(bucket: Bucket, name: string, atOnce = FIRST_BYTES): Promise<SequentialReader> {
  const opening = await openFirst(bucket, name, atOnce)
  return new RangeReader(bucket, name, opening)
}

class RangeReader implements SequentialReader {
  readonly size: number
  readonly #fetch: (from: number, length: number) => Promise<Buffer>
  readonly #stop = new AbortController()
  #ranges: Range[]
  #fetched: number
  #position = 0
  #tail: Promise<unknown> = Promise.resolve()

  constructor(bucket: Bucket, name: string, { size, etag, first }: Opened & { first: Buffer }) {
    this.size = size
    this.#fetch = (from, length) => fetchRange(bucket, name, { from, length, etag, signal: this.#stop.signal })
    this.#ranges = [{ from: 0, bytes: Promise.resolve(first) }]
    this.#fetched = first.byteLength
  }

  read(length: number): Promise<Buffer> {
    const mine = this.#tail.then(() => this.#next(length))
    this.#tail = mine.catch(() => undefined)
    return mine
  }

  async readAt(from: number, length: number): Promise<Buffer> {
    const wanted = Math.max(0, Math.min(length, this.size - from))
    if (wanted === 0) return Buffer.alloc(0)
    return this.#fetch(from, wanted)
  }

  async close(): Promise<void> {
    this.#stop.abort()
    this.#ranges = []
  }

  async #next(length: number): Promise<Buffer> {
    const wanted = Math.min(length, this.size - this.#position)
    const result = Buffer.allocUnsafeSlow(wanted)
    let filled = 0
    while (filled < wanted) {
      this.#lookAhead()
      const range = this.#ranges[0]
      if (range === undefined) throw new NexusError('failed', 'reader_closed', 'the reader was closed')
      const bytes = await range.bytes
      filled += bytes.copy(result, filled, this.#position + filled - range.from)
      if (this.#position + filled === range.from + bytes.byteLength) {
        this.#ranges.shift()
        giveBack(bytes)
      }
    }
    this.#position += wanted
    return result
  }

  #lookAhead(): void {
    while (this.#ranges.length < (this.#position === 0 ? 1 : AHEAD + 1) && this.#fetched < this.size) {
      const length = Math.min(RANGE_BYTES, this.size - this.#fetched)
      const bytes = this.#fetch(this.#fetched, length)
      // Its failure is told to whoever reads it.
      bytes.catch(() => undefined)
      this.#ranges.push({ from: this.#fetched, bytes })
      this.#fetched += length
    }
  }
}

/** The first range, which also tells how large the object is. */
async function openFirst(bucket: Bucket, name: string, atOnce: number): Promise<Opened & { first: Buffer }> {
  const answer = await bucket.request('reading', name, async (client, sdk) => {
    try {
      return await client.send(new sdk.GetObjectCommand({ ...bucket.at(name), Range: `bytes=0-${atOnce - 1}` }))
    } catch (error) {
      // There is no range in an empty object.
      if ((error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode === 416) return undefined
      throw error
    }
  })
  if (answer === undefined) return { size: 0, etag: undefined, first: Buffer.alloc(0) }
  const size = Number(/\/(\d+)$/.exec(answer.ContentRange ?? '')?.[1] ?? answer.ContentLength)
  const etag = answer.ETag
  const length = Math.min(atOnce, size)
  const { bytes } = await take(answer.Body as Readable, length)
  if (bytes.byteLength === length) return { size, etag, first: bytes }
  const rest = { from: bytes.byteLength, length: length - bytes.byteLength, etag, signal: undefined }
  return { size, etag, first: Buffer.concat([bytes, await fetchRange(bucket, name, rest)]) }
}

interface Wanted {
  from: number
  length: number
  etag: string | undefined
  signal: AbortSignal | undefined
}

/** Exactly these bytes; what breaks off is asked for again from where it stopped. */
async function fetchRange(bucket: Bucket, name: string, { from, length, etag, signal }: Wanted): Promise<Buffer> {
  const pieces: Buffer[] = []
  let got = 0
  for (let failures = 0; ; ) {
    const Range = `bytes=${from + got}-${from + length - 1}`
    const answer = await bucket.request('reading', name, async (client, sdk) => {
      try {
        const abort = signal === undefined ? {} : { abortSignal: signal }
        return await client.send(new sdk.GetObjectCommand({ ...bucket.at(name), Range }), abort)
      } catch (error) {
        const status = (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode
        if (status === 416) throw replaced(bucket, name, error)
        throw error
      }
    })
    if (answer.ETag !== etag) throw replaced(bucket, name)
    const { bytes, error } = await take(answer.Body as Readable, length - got)
    pieces.push(bytes)
    got += bytes.byteLength
    if (got === length) return pieces.length === 1 ? bytes : Buffer.concat(pieces)
    failures = bytes.byteLength > 0 ? 1 : failures + 1
    if (failures >= BODY_ATTEMPTS || signal?.aborted) {
      await bucket.request('reading', name, () =>
        Promise.reject(error ?? cutShort(bucket, name, from + got, from + length)),
      )
    }
    await sleep(failures * 200)
  }
}

/** What arrives of a body, at most `length` bytes, and why it ended early. */
async function take(body: Readable, length: number): Promise<{ bytes: Buffer; error: unknown }> {
  const buffer = Buffer.allocUnsafeSlow(length)
  let filled = 0
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      if (filled === length) break
      filled += chunk.copy(buffer, filled)
    }
    return { bytes: buffer.subarray(0, filled), error: undefined }
  } catch (error) {
    return { bytes: buffer.subarray(0, filled), error }
  } finally {
    body.destroy()
  }
}

function replaced(bucket: Bucket, name: string, cause?: unknown): NexusError {
  return new NexusError('damage', 'object_replaced', `${bucket.displayed(name)} was replaced while it was read`, {
    cause,
    hint: 'nothing in a repository is ever replaced by nexus-backup: find out who did it',
  })
}
