import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { KeyTools } from '../../src/keys/recipient.js'
import { unwrapWith, wrapFor } from '../../src/keys/wrapping.js'

/**
 * An endpoint that answers as AWS KMS does (JSON 1.1, TrentService.Encrypt and Decrypt), because there is no KMS to run
 * here: what it "encrypts" it keeps in the blob, with the key and the context that Decrypt must name again.
 */
function fakeKms() {
  const seen: { target: string; body: Record<string, unknown> }[] = []
  const server = createServer((request, response) => {
    let text = ''
    request.on('data', chunk => {
      text += chunk
    })
    request.on('end', () => {
      const target = String(request.headers['x-amz-target'])
      const body = JSON.parse(text)
      seen.push({ target, body })
      const answer = (status: number, value: object) => {
        response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' })
        response.end(JSON.stringify(value))
      }
      const context = JSON.stringify(body.EncryptionContext)
      if (target.endsWith('.Encrypt')) {
        const blob = Buffer.from(JSON.stringify({ key: body.KeyId, context, plain: body.Plaintext }))
        return answer(200, { CiphertextBlob: blob.toString('base64'), KeyId: body.KeyId })
      }
      const kept = JSON.parse(Buffer.from(String(body.CiphertextBlob), 'base64').toString())
      if (kept.key !== body.KeyId || kept.context !== context) {
        return answer(400, { __type: 'InvalidCiphertextException', message: 'no' })
      }
      return answer(200, { Plaintext: kept.plain, KeyId: body.KeyId })
    })
  })
  return { server, seen }
}

const key = 'arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555'
const epoch = '20251103T000000.000Z-00112233'
const tools: KeyTools = { env: {}, signal: new AbortController().signal, ask: undefined }
const names = ['AWS_ENDPOINT_URL_KMS', 'AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_MAX_ATTEMPTS'] as const
const before = names.map(name => process.env[name])
let kms: ReturnType<typeof fakeKms>

beforeEach(async () => {
  kms = fakeKms()
  await new Promise<void>(resolve => kms.server.listen(0, '127.0.0.1', resolve))
  const { port } = kms.server.address() as AddressInfo
  process.env.AWS_ENDPOINT_URL_KMS = `http://127.0.0.1:${port}`
  process.env.AWS_ACCESS_KEY_ID = 'test'
  process.env.AWS_SECRET_ACCESS_KEY = 'test'
  process.env.AWS_MAX_ATTEMPTS = '1'
})

afterEach(async () => {
  for (const [at, name] of names.entries()) {
    const value = before[at]
    if (value === undefined) delete process.env[name]
    else process.env[name] = value
  }
  await new Promise(resolve => kms.server.close(resolve))
})

describe('a recipient in AWS KMS (a fake endpoint)', () => {
  it('wraps and opens an epoch, and binds it to its name', async () => {
    const secret = Buffer.alloc(32, 7)
    const recipient = { kind: 'aws-kms', key } as const
    const wrapped = await wrapFor(recipient, epoch, secret, tools)
    expect(wrapped).toMatchObject({ kind: 'aws-kms', parameters: { key } })
    expect(await unwrapWith(recipient, epoch, wrapped, tools)).toEqual({ secret })
    expect(kms.seen.map(({ target, body }) => [target, body.EncryptionContext])).toEqual([
      ['TrentService.Encrypt', { 'nexus-backup-epoch': epoch }],
      ['TrentService.Decrypt', { 'nexus-backup-epoch': epoch }],
    ])
    const elsewhere = await unwrapWith(recipient, epoch.replace('3', '4'), wrapped, tools)
    expect(elsewhere).toHaveProperty('problem')
    const other = { ...recipient, key: key.replace('1111', '9999') }
    expect(await unwrapWith(other, epoch, wrapped, tools)).toBeUndefined()
  })

  it('that does not answer is told with the key it was asked for', async () => {
    await new Promise(resolve => kms.server.close(resolve))
    const failing = wrapFor({ kind: 'aws-kms', key }, epoch, Buffer.alloc(32), tools)
    await expect(failing).rejects.toMatchObject({ code: 'kms_failed', message: expect.stringContaining(key) })
    kms.server.listen(0)
  })
})
