import { randomBytes } from 'node:crypto'
import { Aes128Gcm, CipherSuite, HkdfSha256 } from '@hpke/core'
import { DhkemX25519HkdfSha256 } from '@hpke/dhkem-x25519'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { epochPrivate } from '../../src/keys/epoch-keys.js'
import { openWith, sealTo } from '../../src/keys/hpke.js'

const hex = (text: string) => new Uint8Array(Buffer.from(text, 'hex')).buffer

describe('HPKE', () => {
  // RFC 9180 has no vectors of AES-256-GCM with X25519; recover.mjs opens what this seals, by code of its own.
  it('is the one of RFC 9180, appendix A.1.1', async () => {
    const suite = new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes128Gcm() })
    const recipientKey = await suite.kem.deserializePrivateKey(
      hex('4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8'),
    )
    const recipient = await suite.createRecipientContext({
      recipientKey,
      enc: hex('37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431'),
      info: hex('4f6465206f6e2061204772656369616e2055726e'),
    })
    const plain = await recipient.open(
      hex('f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a'),
      hex('436f756e742d30'),
    )
    expect(Buffer.from(plain).toString()).toBe('Beauty is truth, truth beauty')
  })

  it('opens what was sealed, and nothing that was changed or meant for something else', async () => {
    const [keys, others] = [epochPrivate(randomBytes(32)), epochPrivate(randomBytes(32))]
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), async message => {
        const sealed = await sealTo(keys.sealing, 'info', 'this', message)
        expect(await openWith(keys.opening, 'info', 'this', sealed)).toEqual(Buffer.from(message))
        expect(await openWith(keys.opening, 'other', 'this', sealed)).toBeUndefined()
        expect(await openWith(keys.opening, 'info', 'that', sealed)).toBeUndefined()
        expect(await openWith(others.opening, 'info', 'this', sealed)).toBeUndefined()
        const changed = Buffer.from(sealed)
        changed[sealed.length - 1] = (changed[sealed.length - 1] ?? 0) ^ 1
        expect(await openWith(keys.opening, 'info', 'this', changed)).toBeUndefined()
        expect(await openWith(keys.opening, 'info', 'this', sealed.subarray(0, 40))).toBeUndefined()
      }),
      { numRuns: 20 },
    )
  })
})
