import { createHmac, hkdfSync } from 'node:crypto'

/** Bytes of every key here. */
export const KEY_BYTES = 32

/** What every derivation begins with, so that no key of ours is one of another program's. */
const domain = 'nexus-backup 1 '

/**
 * A key of 32 bytes out of a secret by HKDF-SHA-256 (RFC 5869).
 * @param salt what the key is for besides its purpose: a backup's id, an epoch
 * @param purpose one for each use: the same secret never gives the same key twice
 */
export function derivedKey(secret: Uint8Array, salt: string | Uint8Array, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, salt, domain + purpose, KEY_BYTES))
}

/** HMAC-SHA-256 in lower-case hexadecimal. */
export function macOf(key: Uint8Array, message: string | Uint8Array): string {
  return createHmac('sha256', key).update(message).digest('hex')
}

/** A public name of a secret, which tells nothing of it: 16 hexadecimal digits. */
export function secretName(secret: Uint8Array): string {
  return derivedKey(secret, '', 'name').subarray(0, 8).toString('hex')
}
