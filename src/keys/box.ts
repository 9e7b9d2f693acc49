import { createCipheriv, createDecipheriv } from 'node:crypto'

const TAG_BYTES = 16
/** Each key here encrypts one message only, so the nonce may always be the same. */
const nonce = Buffer.alloc(12)

/** Encrypts one message under a key that is used for it alone: AES-256-GCM, the tag at the end. */
export function box(key: Uint8Array, message: Uint8Array, associated: string): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  cipher.setAAD(Buffer.from(associated))
  return Buffer.concat([cipher.update(message), cipher.final(), cipher.getAuthTag()])
}

/** The message in a box; undefined when it was made with another key, for something else, or changed. */
export function unbox(key: Uint8Array, sealed: Uint8Array, associated: string): Buffer | undefined {
  const bytes = Buffer.from(sealed)
  if (bytes.length < TAG_BYTES) return undefined
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
    decipher.setAAD(Buffer.from(associated))
    decipher.setAuthTag(bytes.subarray(-TAG_BYTES))
    return Buffer.concat([decipher.update(bytes.subarray(0, -TAG_BYTES)), decipher.final()])
  } catch {
    return undefined
  }
}
