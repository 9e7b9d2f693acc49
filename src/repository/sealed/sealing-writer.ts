import { createCipheriv } from 'node:crypto'
import type { PartWriter } from '../storage/storage.js'
import { associatedData, FRAME_BYTES, formatHeader, frameNonce } from './sealed-layout.js'

/** What a file is sealed with. */
export interface SealingKey {
  /** 32 bytes that seal this file and no other. */
  key: Buffer
  /** What else the file is bound to: where it belongs. */
  context: string
}

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
  let waiting = Buffer.allocUnsafe(frameBytes)
  let held = 0
  let number = 0
  let begun = false
  let tail: Promise<unknown> = Promise.resolve()
  let closing: ReturnType<PartWriter['close']> | undefined

  function sealed(plain: Uint8Array, last: boolean): Buffer[] {
    const cipher = createCipheriv('aes-256-gcm', sealing.key, frameNonce(number, last))
    cipher.setAAD(bound)
    number += 1
    const pieces = [cipher.update(plain), cipher.final(), cipher.getAuthTag()]
    if (begun) return pieces
    begun = true
    return [header, ...pieces]
  }

  async function append(bytes: Uint8Array): Promise<void> {
    const pieces: Buffer[] = []
    for (let at = 0; at < bytes.byteLength; ) {
      // A full frame waits until more comes: only then it is not the last one.
      if (held === frameBytes) {
        pieces.push(...sealed(waiting, false))
        held = 0
      }
      // What is a whole frame already needs no copy.
      if (held === 0 && bytes.byteLength - at > frameBytes) {
        pieces.push(...sealed(bytes.subarray(at, at + frameBytes), false))
        at += frameBytes
        continue
      }
      const taken = Math.min(frameBytes - held, bytes.byteLength - at)
      waiting.set(bytes.subarray(at, at + taken), held)
      held += taken
      at += taken
    }
    await writeAll(pieces)
  }

  /** One after another, and not joined: a copy of everything stored costs more than the calls. */
  async function writeAll(pieces: readonly Buffer[]): Promise<void> {
    await Promise.all(pieces.map(piece => (piece.length === 0 ? undefined : writer.write(piece))))
  }

  async function finish() {
    try {
      await tail
      await writeAll(sealed(waiting.subarray(0, held), true))
    } catch (error) {
      await writer.close().catch(() => {})
      throw error
    }
    waiting = Buffer.alloc(0)
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
