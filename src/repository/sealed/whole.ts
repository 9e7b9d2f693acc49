import { createCipheriv, createDecipheriv } from 'node:crypto'
import {
  associatedData,
  FRAME_BYTES,
  formatHeader,
  frameNonce,
  HEADER_BYTES,
  parseHeader,
  plainSize,
  TAG_BYTES,
} from './sealed-layout.js'
import type { SealingKey } from './sealing-writer.js'

/** Seals bytes that are in memory anyway, into the same form as `sealingWriter` does. */
export function sealWhole(plain: Uint8Array, { key, context }: SealingKey): Buffer {
  const header = formatHeader(FRAME_BYTES)
  const bound = associatedData(header, context)
  const frames = Math.max(1, Math.ceil(plain.byteLength / FRAME_BYTES))
  const pieces: Buffer[] = [header]
  for (let number = 0; number < frames; number += 1) {
    const cipher = createCipheriv('aes-256-gcm', key, frameNonce(number, number === frames - 1))
    cipher.setAAD(bound)
    pieces.push(cipher.update(plain.subarray(number * FRAME_BYTES, (number + 1) * FRAME_BYTES)), cipher.final())
    pieces.push(cipher.getAuthTag())
  }
  return Buffer.concat(pieces)
}

/** What was sealed; undefined when it does not open, whole and in order. */
export function openWhole(sealed: Uint8Array, { key, context }: SealingKey): Buffer | undefined {
  const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength)
  const header = bytes.subarray(0, HEADER_BYTES)
  const frameBytes = parseHeader(header)
  const size = frameBytes === undefined ? undefined : plainSize(bytes.length, frameBytes)
  if (frameBytes === undefined || size === undefined) return undefined
  const bound = associatedData(header, context)
  const plain = Buffer.allocUnsafe(size)
  let filled = 0
  for (let at = HEADER_BYTES, number = 0; at < bytes.length; at += frameBytes + TAG_BYTES, number += 1) {
    const frame = bytes.subarray(at, at + frameBytes + TAG_BYTES)
    const last = at + frame.length === bytes.length
    try {
      const nonce = frameNonce(number, last)
      const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
      decipher.setAAD(bound)
      decipher.setAuthTag(frame.subarray(-TAG_BYTES))
      filled += decipher.update(frame.subarray(0, -TAG_BYTES)).copy(plain, filled)
      decipher.final()
    } catch {
      return undefined
    }
  }
  return plain
}
