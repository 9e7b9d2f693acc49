import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach } from 'vitest'

export const kmsKey = 'arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555'

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

const names = ['AWS_ENDPOINT_URL_KMS', 'AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_MAX_ATTEMPTS'] as const

/** The fake stands in for AWS KMS in every test of a file; what it was asked is in `seen`. */
export function useFakeKms(): { current: ReturnType<typeof fakeKms> } {
  const before = names.map(name => process.env[name])
  const used = { current: fakeKms() }
  beforeEach(async () => {
    used.current = fakeKms()
    await new Promise<void>(resolve => used.current.server.listen(0, '127.0.0.1', resolve))
    const { port } = used.current.server.address() as AddressInfo
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
    await new Promise(resolve => used.current.server.close(resolve))
  })
  return used
}
