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

  function sealed(plain: readonly Uint8Array[], last: boolean): Buffer[] {
    const cipher = createCipheriv('aes-256-gcm', sealing.key, frameNonce(number, last))
    cipher.setAAD(bound)
    number += 1
    const pieces = [...plain.map(piece => cipher.update(piece)), cipher.final(), cipher.getAuthTag()]
    if (begun) return pieces
    begun = true
    return [header, ...pieces]
  }

  /** A full frame waits until more comes, for only then it is not the last one; only what waits is copied. */
  async function append(bytes: Uint8Array): Promise<void> {
    const pieces: Buffer[] = []
    let at = 0
    while (held + bytes.byteLength - at > frameBytes) {
      const end = at + frameBytes - held
      pieces.push(...sealed([waiting.subarray(0, held), bytes.subarray(at, end)], false))
      held = 0
      at = end
    }
    waiting.set(bytes.subarray(at), held)
    held += bytes.byteLength - at
    await writeAll(pieces)
  }

  /** One after another, and not joined: a copy of everything stored costs more than the calls. */
  async function writeAll(pieces: readonly Buffer[]): Promise<void> {
    await Promise.all(pieces.map(piece => (piece.length === 0 ? undefined : writer.write(piece))))
  }

  async function finish() {
    try {
      await tail
      await writeAll(sealed([waiting.subarray(0, held)], true))
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
