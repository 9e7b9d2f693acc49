import { describe, expect, it } from 'vitest'
import type { KeyTools } from '../../src/keys/recipient.js'
import { unwrapWith, wrapFor } from '../../src/keys/wrapping.js'
import { kmsKey as key, useFakeKms } from './fake-kms.js'

const epoch = '20251103T000000.000Z-00112233'
const tools: KeyTools = { env: {}, signal: new AbortController().signal, ask: undefined }
const kms = useFakeKms()

describe('a recipient in AWS KMS (a fake endpoint)', () => {
  it('wraps and opens an epoch, and binds it to its name', async () => {
    const secret = Buffer.alloc(32, 7)
    const recipient = { kind: 'aws-kms', key } as const
    const wrapped = await wrapFor(recipient, epoch, secret, tools)
    expect(wrapped).toMatchObject({ kind: 'aws-kms', parameters: { key } })
    expect(await unwrapWith(recipient, epoch, wrapped, tools)).toEqual({ secret })
    expect(kms.current.seen.map(({ target, body }) => [target, body.EncryptionContext])).toEqual([
      ['TrentService.Encrypt', { 'nexus-backup-epoch': epoch }],
      ['TrentService.Decrypt', { 'nexus-backup-epoch': epoch }],
    ])
    const elsewhere = await unwrapWith(recipient, epoch.replace('3', '4'), wrapped, tools)
    expect(elsewhere).toHaveProperty('problem')
    const other = { ...recipient, key: key.replace('1111', '9999') }
    expect(await unwrapWith(other, epoch, wrapped, tools)).toBeUndefined()
  })

  it('that does not answer is told with the key it was asked for', async () => {
    await new Promise(resolve => kms.current.server.close(resolve))
    const failing = wrapFor({ kind: 'aws-kms', key }, epoch, Buffer.alloc(32), tools)
    await expect(failing).rejects.toMatchObject({ code: 'kms_failed', message: expect.stringContaining(key) })
    kms.current.server.listen(0)
  })
})
