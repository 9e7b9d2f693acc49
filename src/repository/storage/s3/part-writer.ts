import { createHash } from 'node:crypto'
import { NexusError } from '../../../errors.js'
import type { PartWriter, WrittenPart } from '../storage.js'
import type { Bucket } from './bucket.js'
import { type Kept, putOnce } from './objects.js'
import type { PartLayout } from './part-sizes.js'
import { Upload } from './upload.js'

/** A part writer whose upload can be given up. */
export interface S3PartWriter extends PartWriter {
  /** Stops, and removes what the server keeps of an unfinished upload. */
  abort(): Promise<void>
}

/**
 * Writes one object: a single request for what fits into one part, else an upload in parts of bounded memory.
 * Bytes go as buffers, so that the signature covers them and the SDK can send them again.
 * @param name the object's name in the repository; `own` the part's name in its backup
 */
export function openPartWriter(
  bucket: Bucket,
  name: string,
  { own, kept, layout, assertHeld }: { own: string; kept: Kept; layout: PartLayout; assertHeld: () => Promise<void> },
): S3PartWriter {
  const hash = createHash('sha256')
  let bytes = 0
  let number = 1
  let room = Buffer.alloc(0)
  /** Memory of parts that have arrived. */
  const spare: Buffer<ArrayBuffer>[] = []
  let filled = 0
  let upload: Upload | undefined
  let aborted = false
  let tail: Promise<void> = Promise.resolve()
  let closing: Promise<WrittenPart> | undefined

  async function append(chunk: Uint8Array): Promise<void> {
    await assertHeld()
    hash.update(chunk)
    bytes += chunk.byteLength
    for (let done = 0; done < chunk.byteLength; ) {
      if (aborted) throw givenUp(name)
      if (room.byteLength === 0) room = roomFor(chunk.byteLength - done)
      else if (filled === room.byteLength) await makeRoom()
      const count = Math.min(chunk.byteLength - done, room.byteLength - filled)
      room.set(chunk.subarray(done, done + count), filled)
      filled += count
      done += count
    }
  }

  /** Small objects are many: their memory grows as they do, that of large ones serves again. */
  function roomFor(wanted: number): Buffer<ArrayBuffer> {
    const size = layout.bytes
    if (upload === undefined) return Buffer.allocUnsafeSlow(Math.min(size, Math.max(64 * 1024, wanted)))
    const used = spare.pop()
    if (used?.byteLength === size) return used
    spare.length = 0
    return Buffer.allocUnsafeSlow(size)
  }

  async function makeRoom(): Promise<void> {
    const size = layout.bytes
    if (room.byteLength < size) {
      const larger = Buffer.allocUnsafeSlow(Math.min(size, room.byteLength * 4))
      room.copy(larger)
      room = larger
      return
    }
    if (number > layout.maxParts) throw grown(bucket, name, layout)
    upload ??= await Upload.begin(bucket, name, kept)
    const sent = room
    await upload.send(number, sent, layout.inFlight, () => spare.push(sent))
    number += 1
    filled = 0
    room = Buffer.alloc(0)
  }

  async function finish(): Promise<WrittenPart> {
    await tail
    if (aborted) throw givenUp(name)
    await assertHeld()
    const rest = room.subarray(0, filled)
    if (upload !== undefined) {
      if (number > layout.maxParts) throw grown(bucket, name, layout)
      if (filled > 0) await upload.send(number, rest, 0)
      await upload.complete()
    } else if (!(await putOnce(bucket, name, rest, kept))) {
      throw alreadyThere(bucket, name)
    }
    room = Buffer.alloc(0)
    spare.length = 0
    return { name: own, bytes, sha256: hash.digest('hex') }
  }

  return {
    async write(chunk) {
      if (closing) throw new NexusError('failed', 'part_closed', `${name} is closed and takes no more bytes`)
      const mine = tail.then(() => append(chunk))
      tail = mine
      await mine
    },
    close() {
      closing ??= finish()
      return closing
    },
    async abort() {
      aborted = true
      upload?.stop()
      await Promise.allSettled([tail, closing])
      await upload?.abort()
    },
  }
}

/** A source that has grown by more than anybody could plan for. */
function grown(bucket: Bucket, name: string, { bytes, maxParts }: PartLayout): NexusError {
  return new NexusError(
    'failed',
    'part_too_large',
    `${bucket.displayed(name)} needs more than ${maxParts} parts of ${bytes} bytes`,
    {
      hint: 'the source has grown while it was read: run it again, or set part_size in the configuration of the repository',
    },
  )
}

function givenUp(name: string): NexusError {
  return new NexusError('failed', 'part_given_up', `${name} was given up`)
}

export function alreadyThere(bucket: Bucket, name: string): NexusError {
  return new NexusError('failed', 'exists', `${bucket.displayed(name)} already exists and is never overwritten`)
}
