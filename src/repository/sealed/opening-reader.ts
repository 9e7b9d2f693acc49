import { createDecipheriv, createHash } from 'node:crypto'
import { NexusError } from '../../errors.js'
import { giveBack } from '../../give-back.js'
import type { SequentialReader } from '../storage/storage.js'
import { associatedData, frameNonce, HEADER_BYTES, parseHeader, plainSize, TAG_BYTES } from './sealed-layout.js'
import { PIECE_BYTES, type SealingKey } from './sealing-writer.js'

/** Bytes read at a time to know the digest of what nobody wants. */
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
  /** The bytes of one frame, and what of them was not read yet. */
  let room = Buffer.alloc(0)
  let ready = room
  let number = 0
  let left = size

  async function taken(length: number): Promise<Buffer> {
    const bytes = await reader.read(length)
    hash.update(bytes)
    return bytes
  }

  /** Nothing of a frame is given away before its tag was compared. @param into has room for its bytes */
  function openFrame(sealed: Buffer, which: number, into: Buffer): void {
    const body = sealed.subarray(0, -TAG_BYTES)
    try {
      const decipher = createDecipheriv('aes-256-gcm', sealing.key, frameNonce(which, which === frames - 1), {
        authTagLength: TAG_BYTES,
      })
      decipher.setAAD(bound)
      decipher.setAuthTag(sealed.subarray(-TAG_BYTES))
      for (let at = 0; at < body.length; at += PIECE_BYTES) {
        const piece = decipher.update(body.subarray(at, at + PIECE_BYTES))
        piece.copy(into, at)
        giveBack(piece)
      }
      decipher.final()
    } catch {
      throw damaged(what, `cannot be opened: sealed frame ${which} was changed or does not belong there`)
    }
  }

  async function openNext(): Promise<void> {
    const sealed = await taken(stride)
    const length = Math.max(0, sealed.length - TAG_BYTES)
    if (room.length < length) room = Buffer.allocUnsafeSlow(length)
    openFrame(sealed, number, room)
    number += 1
    ready = room.subarray(0, length)
    giveBack(sealed)
  }

  /** The frame that was opened last for a look here and there: the next look is often at the same one. */
  let looked: { number: number; bytes: Buffer } | undefined

  async function frameAt(which: number): Promise<Buffer> {
    if (looked?.number === which) return looked.bytes
    const sealed = await reader.readAt(HEADER_BYTES + which * stride, stride)
    const bytes = Buffer.allocUnsafeSlow(Math.max(0, sealed.length - TAG_BYTES))
    openFrame(sealed, which, bytes)
    giveBack(sealed)
    looked = { number: which, bytes }
    return bytes
  }

  return {
    size,
    async read(length) {
      // Also that there is nothing is sealed.
      if (size === 0 && number === 0) await openNext()
      // Memory of its own: it may be handed to a worker.
      const bytes = Buffer.allocUnsafeSlow(Math.min(length, left))
      for (let filled = 0; filled < bytes.length; ) {
        if (ready.length === 0) await openNext()
        const count = ready.copy(bytes, filled)
        ready = ready.subarray(count)
        filled += count
      }
      left -= bytes.length
      return bytes
    },
    async readAt(position, length) {
      const bytes = Buffer.allocUnsafeSlow(Math.max(0, Math.min(length, size - position)))
      for (let filled = 0; filled < bytes.length; ) {
        const at = position + filled
        const frame = await frameAt(Math.floor(at / frameBytes))
        filled += frame.copy(bytes, filled, at % frameBytes)
      }
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
