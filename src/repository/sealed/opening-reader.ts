import { createDecipheriv, createHash } from 'node:crypto'
import { NexusError } from '../../errors.js'
import type { SequentialReader } from '../storage/storage.js'
import { associatedData, frameNonce, HEADER_BYTES, parseHeader, plainSize, TAG_BYTES } from './sealed-layout.js'
import type { SealingKey } from './sealing-writer.js'

/** Bytes read from the store at a time, at least one frame. */
const READ_BYTES = 1024 * 1024

/** A reader of the plain bytes that knows the SHA-256 of the sealed ones. */
export interface OpeningReader extends SequentialReader {
  /** SHA-256 of everything stored, in lower-case hexadecimal; reads what was not read yet, whether it opens or not. */
  storedSha256(): Promise<string>
}

/**
 * Opens a sealed file: what it gives was sealed under this key, in this order, to its end.
 * @param what names the file in messages
 * @throws NexusError damage `sealed_damaged`, here or at the frame that does not open
 */
export async function openingReader(
  reader: SequentialReader,
  sealing: SealingKey,
  what: string,
): Promise<OpeningReader> {
  const hash = createHash('sha256')
  const header = await taken(HEADER_BYTES)
  const frameBytes = parseHeader(header)
  if (frameBytes === undefined) throw damaged(what, 'does not begin as a sealed file does')
  const size = plainSize(reader.size, frameBytes)
  if (size === undefined) throw damaged(what, `has ${reader.size} bytes, which no whole sealed file has`)
  const bound = associatedData(header, sealing.context)
  const stride = frameBytes + TAG_BYTES
  const frames = Math.ceil((reader.size - HEADER_BYTES) / stride)
  const step = Math.max(1, Math.floor(READ_BYTES / stride))
  let number = 0
  let ready: Buffer[] = []
  let readyBytes = 0

  async function taken(length: number): Promise<Buffer> {
    const bytes = await reader.read(length)
    hash.update(bytes)
    return bytes
  }

  async function openNext(): Promise<void> {
    const sealed = await taken(step * stride)
    for (let at = 0; at < sealed.length; at += stride) {
      const plain = opened(sealed.subarray(at, at + stride))
      ready.push(plain)
      readyBytes += plain.length
    }
  }

  function opened(sealed: Buffer): Buffer {
    const last = number === frames - 1
    const body = sealed.subarray(0, -TAG_BYTES)
    try {
      const decipher = createDecipheriv('aes-256-gcm', sealing.key, frameNonce(number, last), {
        authTagLength: TAG_BYTES,
      })
      decipher.setAAD(bound)
      decipher.setAuthTag(sealed.subarray(-TAG_BYTES))
      const plain = Buffer.concat([decipher.update(body), decipher.final()])
      number += 1
      return plain
    } catch {
      throw damaged(what, `cannot be opened: sealed frame ${number} was changed or does not belong there`)
    }
  }

  return {
    size,
    async read(length) {
      while (readyBytes < length && number < frames) await openNext()
      const wanted = Math.min(length, readyBytes)
      // Memory of its own: it may be handed to a worker.
      const bytes = Buffer.allocUnsafeSlow(wanted)
      let filled = 0
      let used = 0
      for (const piece of ready) {
        const part = Math.min(piece.length, wanted - filled)
        piece.copy(bytes, filled, 0, part)
        filled += part
        if (part < piece.length) {
          ready[used] = piece.subarray(part)
          break
        }
        used += 1
      }
      ready = ready.slice(used)
      readyBytes -= wanted
      return bytes
    },
    async storedSha256() {
      while ((await taken(READ_BYTES)).length > 0);
      return hash.digest('hex')
    },
    close: () => reader.close(),
  }
}

function damaged(what: string, problem: string): NexusError {
  return new NexusError('damage', 'sealed_damaged', `${what} ${problem}`)
}
