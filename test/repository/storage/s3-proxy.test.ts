import { createServer, type IncomingMessage, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, onTestFinished, test } from 'vitest'
import { S3Storage } from '../../../src/repository/storage/s3/s3.js'
import { startS3 } from '../../helpers/s3-server.js'

const MiB = 1024 * 1024
const server = await startS3()
const variables = [
  'http_proxy',
  'HTTP_PROXY',
  'https_proxy',
  'HTTPS_PROXY',
  'no_proxy',
  'NO_PROXY',
  'all_proxy',
  'ALL_PROXY',
]
const before = variables.map(name => [name, process.env[name]] as const)

afterEach(() => {
  for (const [name, value] of before) {
    if (value === undefined) delete process.env[name]
    else process.env[name] = value
  }
})

/** A forward proxy that keeps what passes: `PUT http://…`, and the bytes of each part. */
async function forwardProxy(): Promise<{ url: string; seen: string[]; parts: number[] }> {
  const seen: string[] = []
  const parts: number[] = []
  const proxy = createServer((incoming: IncomingMessage, answer) => {
    seen.push(`${incoming.method} ${incoming.url}`)
    if (incoming.url?.includes('partNumber=') === true) parts.push(Number(incoming.headers['content-length']))
    const outgoing = request(
      incoming.url ?? '',
      { method: incoming.method ?? 'GET', headers: incoming.headers },
      response => {
        answer.writeHead(response.statusCode ?? 502, response.headers)
        response.pipe(answer)
      },
    )
    incoming.pipe(outgoing)
  })
  proxy.on('connect', (incoming, socket) => {
    seen.push(`CONNECT ${incoming.url}`)
    socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n')
  })
  await new Promise<void>(resolve => proxy.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void proxy.close())
  return { url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, seen, parts }
}

test('a proxy that the environment names is used, and parts of an upload are equal', async () => {
  const proxy = await forwardProxy()
  process.env.http_proxy = proxy.url
  process.env.no_proxy = ''
  const place = await server.newPlace({ partSize: 5 * MiB })
  const storage = await S3Storage.open(place)
  const pending = await storage.begin('itsm/20251103T030000.123Z-full-7f3a')
  const writer = await pending.create('part')
  for (let at = 0; at < 12; at += 1) await writer.write(Buffer.alloc(MiB, at))
  expect(await writer.close()).toMatchObject({ bytes: 12 * MiB })
  await pending.discard()
  expect(proxy.parts).toEqual([5 * MiB, 5 * MiB, 2 * MiB])
  expect(proxy.seen.every(what => what.includes(server.endpoint))).toBe(true)
})

test('a server that NO_PROXY names is reached directly', async () => {
  const proxy = await forwardProxy()
  process.env.http_proxy = proxy.url
  process.env.NO_PROXY = '127.0.0.1'
  const storage = await S3Storage.open(await server.newPlace())
  expect(await storage.list('')).toEqual([])
  expect(proxy.seen).toEqual([])
})

test('HTTPS goes through a tunnel of the proxy', async () => {
  const proxy = await forwardProxy()
  process.env.HTTPS_PROXY = proxy.url
  process.env.no_proxy = ''
  const retries = { attemptsUntilReached: 1, attempts: 1, base: 1, longest: 1, total: 1000 }
  const place = { bucket: 'backups', prefix: '', endpoint: 'https://store.invalid:9000' }
  const storage = await S3Storage.open(place, { retries })
  await expect(storage.list('')).rejects.toMatchObject({ kind: 'failed', hint: expect.any(String) })
  expect(proxy.seen).toEqual(['CONNECT store.invalid:9000'])
})
