import { createCipheriv } from 'node:crypto'
import { giveBack } from '../../give-back.js'
import type { PartWriter } from '../storage/storage.js'
import { associatedData, FRAME_BYTES, formatHeader, frameNonce, TAG_BYTES } from './sealed-layout.js'

/** What a file is sealed with. */
export interface SealingKey {
  /** 32 bytes that seal this file and no other. */
  key: Buffer
  /** What else the file is bound to: where it belongs. */
  context: string
}

/** What is sealed or opened in one call: its bytes stay in the processor's cache until they are copied. */
export const PIECE_BYTES = 64 * 1024

/**
 * A writer that seals what passes through; the counts and the SHA-256 of `close` are those of the sealed bytes. The last
 * frame carries a mark, so what is cut off, put in another order or taken from another file does not open.
 */
export function sealingWriter(
  writer: PartWriter,
  sealing: SealingKey,
  { frameBytes = FRAME_BYTES }: { frameBytes?: number } = {},
): PartWriter {
  const header = formatHeader(frameBytes)
  const bound = associatedData(header, sealing.context)
  /** Plain bytes of the frame that is filling up, and the sealed bytes of one: both serve again and again. */
  let waiting = Buffer.allocUnsafe(frameBytes)
  let room = Buffer.allocUnsafe(header.byteLength + frameBytes + TAG_BYTES)
  let held = 0
  let number = 0
  let tail: Promise<unknown> = Promise.resolve()
  let closing: ReturnType<PartWriter['close']> | undefined

  /** Seals what waits; the file's header goes before its first frame. The bytes are good until the next call. */
  function sealed(last: boolean): Buffer {
    const cipher = createCipheriv('aes-256-gcm', sealing.key, frameNonce(number, last))
    cipher.setAAD(bound)
    let length = number === 0 ? header.copy(room) : 0
    number += 1
    for (let at = 0; at < held; at += PIECE_BYTES) {
      const piece = cipher.update(waiting.subarray(at, Math.min(at + PIECE_BYTES, held)))
      length += piece.copy(room, length)
      giveBack(piece)
    }
    held = 0
    length += cipher.final().copy(room, length)
    length += cipher.getAuthTag().copy(room, length)
    return room.subarray(0, length)
  }

  /** A full frame waits until more comes, for only then it is not the last one. */
  async function append(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.byteLength; ) {
      if (held === frameBytes) await writer.write(sealed(false))
      const count = Math.min(frameBytes - held, bytes.byteLength - at)
      waiting.set(bytes.subarray(at, at + count), held)
      held += count
      at += count
    }
  }

  async function finish() {
    try {
      await tail
      await writer.write(sealed(true))
    } catch (error) {
      await writer.close().catch(() => {})
      throw error
    }
    waiting = Buffer.alloc(0)
    room = Buffer.alloc(0)
    return writer.close()
  }

  return {
    async write(bytes) {
      const mine = tail.then(() => append(bytes))
      tail = mine
      await mine
    },
    close() {
      closing ??= finish()
      return closing
    },
  }
}
