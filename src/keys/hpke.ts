import type { CipherSuite } from '@hpke/core'

/** Bytes of the encapsulated key and of the tag: what sealing adds. */
export const ENCAPSULATED_BYTES = 32
const TAG_BYTES = 16

let suite: Promise<CipherSuite> | undefined

/** HPKE, RFC 9180, base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. Loaded when first used. */
function loaded(): Promise<CipherSuite> {
  suite ??= Promise.all([import('@hpke/core'), import('@hpke/dhkem-x25519')]).then(([core, x25519]) => {
    // Not core's own KEM: Node 20 calls X25519 in WebCrypto an experiment, on stderr.
    const kem = new x25519.DhkemX25519HkdfSha256()
    return new core.CipherSuite({ kem, kdf: new core.HkdfSha256(), aead: new core.Aes256Gcm() })
  })
  return suite
}

/**
 * Encrypts a message to a public key: the encapsulated key (32 bytes), then the ciphertext.
 * @param publicKey raw, 32 bytes
 * @param info what it is for; opening needs the same
 * @param associated what it belongs to; opening needs the same
 */
export async function sealTo(
  publicKey: Uint8Array,
  info: string,
  associated: string,
  message: Uint8Array,
): Promise<Buffer> {
  const hpke = await loaded()
  const recipientPublicKey = await hpke.kem.deserializePublicKey(ownBytes(publicKey))
  const sender = { recipientPublicKey, info: ownBytes(Buffer.from(info)) }
  const { enc, ct } = await hpke.seal(sender, ownBytes(message), ownBytes(Buffer.from(associated)))
  return Buffer.concat([Buffer.from(enc), Buffer.from(ct)])
}

/** The message that was sealed to the public half of a private key; undefined when it was not, or was changed. */
export async function openWith(
  privateKey: Uint8Array,
  info: string,
  associated: string,
  sealed: Uint8Array,
): Promise<Buffer | undefined> {
  if (sealed.byteLength < ENCAPSULATED_BYTES + TAG_BYTES) return undefined
  const hpke = await loaded()
  const recipientKey = await hpke.kem.deserializePrivateKey(ownBytes(privateKey))
  const bytes = ownBytes(sealed)
  try {
    const enc = bytes.slice(0, ENCAPSULATED_BYTES)
    const recipient = { recipientKey, enc, info: ownBytes(Buffer.from(info)) }
    const opened = await hpke.open(recipient, bytes.slice(ENCAPSULATED_BYTES), ownBytes(Buffer.from(associated)))
    return Buffer.from(opened)
  } catch {
    return undefined
  }
}

/** The bytes in an ArrayBuffer of their own: the library reads the whole buffer that a view stands on. */
function ownBytes(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer
}
