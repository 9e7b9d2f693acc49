import { createPrivateKey, createPublicKey, type KeyObject, randomBytes, sign, verify } from 'node:crypto'
import { derivedKey, KEY_BYTES } from './derive.js'

/** PKCS #8 and SubjectPublicKeyInfo of these curves are the raw key behind a fixed head (RFC 8410). */
const privateHead = { x25519: '302e020100300506032b656e04220420', ed25519: '302e020100300506032b657004220420' }
const publicHead = { x25519: '302a300506032b656e032100', ed25519: '302a300506032b6570032100' }

/** The public half of an epoch: data keys are sealed to it, and what its holders sign is checked with it. */
export interface EpochPublic {
  /** X25519, raw. */
  sealing: Buffer
  /** Ed25519, raw. */
  signing: Buffer
}

/** An epoch's private half: one secret, of which both private keys come. */
export interface EpochPrivate extends EpochPublic {
  secret: Buffer
  /** X25519, raw. */
  opening: Buffer
  sign(message: string): Buffer
}

export function newEpochSecret(): Buffer {
  return randomBytes(KEY_BYTES)
}

/** Both key pairs of an epoch's secret. */
export function epochPrivate(secret: Uint8Array): EpochPrivate {
  const opening = derivedKey(secret, '', 'epoch sealing')
  const signer = signingKey(derivedKey(secret, '', 'epoch signing'))
  return {
    secret: Buffer.from(secret),
    opening,
    sealing: rawPublic(createPrivateKey(der(privateHead.x25519, opening))),
    signing: rawPublic(signer),
    sign: message => sign(null, Buffer.from(message), signer),
  }
}

/** An ed25519 private key from its raw seed. */
export function signingKey(seed: Uint8Array): KeyObject {
  return createPrivateKey(der(privateHead.ed25519, seed))
}

/** The raw public half of a private key. */
export function rawPublic(key: KeyObject): Buffer {
  return createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-KEY_BYTES)
}

/** Whether a raw ed25519 key has signed a message. */
export function isSigned(publicKey: Uint8Array, message: string, signature: Uint8Array): boolean {
  try {
    const key = createPublicKey(der(publicHead.ed25519, publicKey, 'spki'))
    return verify(null, Buffer.from(message), key, signature)
  } catch {
    return false
  }
}

function der<T extends 'pkcs8' | 'spki' = 'pkcs8'>(head: string, raw: Uint8Array, type = 'pkcs8' as T) {
  return { key: Buffer.concat([Buffer.from(head, 'hex'), raw]), format: 'der' as const, type }
}
