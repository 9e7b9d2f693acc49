import { HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { expect, test } from 'vitest'
import { initRepository, openRepository } from '../../../src/repository/open.js'
import { S3Storage } from '../../../src/repository/storage/s3/s3.js'
import { type S3Settings, s3Location } from '../../../src/repository/storage/s3/settings.js'
import { lockRequest } from '../../helpers/lock-request.js'
import { startS3 } from '../../helpers/s3-server.js'
import { type Behaviour, oddPages, refusal, storeProxy } from '../../helpers/store-proxy.js'

const server = await startS3()
const retries = { attemptsUntilReached: 3, attempts: 4, base: 1, longest: 5, total: 60_000 }

async function storageOn(behaviour: Behaviour, settings: Partial<S3Settings> = {}) {
  const proxy = await storeProxy(server, behaviour)
  const place = await server.newPlace({ endpoint: proxy.endpoint, ...settings })
  return { proxy, place, storage: await S3Storage.open(place, { retries }) }
}

const isListing: (asked: Parameters<Behaviour>[0]) => boolean = ({ method, query }) =>
  method === 'GET' && query.get('list-type') === '2'

/** An answer to a listing with so many names, and what else is in it. */
function page(names: number, more: string): Behaviour {
  const entry = (n: number) => `<Contents><Key>backups/db1/itsm/${n}</Key><Size>1</Size></Contents>`
  const entries = Array.from({ length: names }, (_, n) => entry(n)).join('')
  const body = `<?xml version="1.0"?><ListBucketResult>${more}${entries}</ListBucketResult>`
  return asked => (isListing(asked) ? { status: 200, headers: {}, body } : undefined)
}

test.each<[string, Behaviour]>([
  ['says that there is more, and gives no token', page(2, '<IsTruncated>true</IsTruncated>')],
  ['gives one token again and again', page(2, '<NextContinuationToken>t</NextContinuationToken>')],
  ['fills an answer and does not say whether it is the last', page(1000, '')],
])('a listing that %s is an error, never a short listing', async (_, behaviour) => {
  const { storage } = await storageOn(behaviour)
  await expect(storage.list('itsm')).rejects.toMatchObject({ kind: 'failed', code: 'listing_unfinished' })
})

test('a listing in another order, with names twice and without IsTruncated, shows each name once', async () => {
  const { storage } = await storageOn(oddPages, { locking: 'single-writer' })
  const names = ['a', 'b', 'c', 'd', 'e']
  for (const name of names) await storage.writeOnce(`itsm/${name}`, Buffer.from(name))
  await storage.writeOnce('itsm/below/f', Buffer.from('f'))
  const shown = (await storage.list('itsm')).map(({ name, kind }) => `${kind} ${name}`).sort()
  expect(shown).toEqual(['directory below', ...names.map(name => `file ${name}`)])
})

test('an ETag that is no MD5, and quoted in one answer only, tells what was written as well', async () => {
  const bare: Behaviour = async ({ method, path }, { client }) => {
    if (method !== 'HEAD') return undefined
    const [, Bucket = '', Key = ''] = /^\/([^/]+)\/(.*)$/s.exec(path) ?? []
    const found = await client.send(new HeadObjectCommand({ Bucket, Key })).catch(() => undefined)
    if (found === undefined) return { status: 404, headers: {}, body: '' }
    const etag = (found.ETag ?? '').replaceAll('"', '')
    return { status: 200, headers: { etag, 'content-length': String(found.ContentLength) }, body: '' }
  }
  const { storage } = await storageOn(bare, { locking: 'single-writer' })
  await storage.writeOnce('itsm/large', Buffer.alloc(2 * 1024 * 1024, 'a'))
  await expect(storage.writeOnce('itsm/large', Buffer.from('b'))).rejects.toMatchObject({ code: 'exists' })
})

test.each<[string, number, string, string, number]>([
  ['another region', 307, 'TemporaryRedirect', 'redirected', 1],
  ['a bucket in the host', 403, 'SecondLevelDomainForbidden', 'path_style_refused', 1],
  ['another clock', 403, 'RequestTimeTooSkewed', 'clock_skewed', 3],
  ['patience', 503, 'SlowDown', 'server_busy', 3],
  ['less in a request', 501, 'NotImplemented', 'not_implemented', 1],
])('a store that wants %s (%i %s) is told as such, after no more attempts than help', async (_, status, name, code, attempts) => {
  const { proxy, storage } = await storageOn(() => refusal(status, name), { storageClass: 'COLD' })
  const hint = code === 'not_implemented' ? expect.stringContaining('storage_class') : expect.any(String)
  await expect(storage.readSmall('nexus-backup.json', 100)).rejects.toMatchObject({ kind: 'failed', code, hint })
  expect(proxy.seen.length).toBeLessThanOrEqual(attempts)
})

test('a store that asks for patience once, and says for how long, is asked again', async () => {
  let refused = 0
  const busy: Behaviour = ({ method }) => {
    if (method !== 'PUT' || refused > 0) return undefined
    refused += 1
    return { ...refusal(503, 'SlowDown'), headers: { 'retry-after': '1' } }
  }
  const { proxy, storage } = await storageOn(busy)
  await storage.writeOnce('itsm/once', Buffer.from('a'))
  expect(proxy.seen.map(({ method }) => method)).toEqual(['PUT', 'PUT'])
})

test('whatever lies where the condition of the server is tried is no source, and is left alone', async () => {
  const place = await server.newPlace()
  const names = [
    '.partial-probe-0000000000000000',
    '.partial-probe-',
    '.partial-probe-1/manifest.json',
    '.partial-probe-2/',
  ]
  const plant = (name: string, Body: string) =>
    server.client.send(new PutObjectCommand({ Bucket: place.bucket, Key: `${place.prefix}/${name}`, Body }))
  for (const name of names) await plant(name, '{')
  const settings = { path: s3Location(place), s3: place }
  const repository = await initRepository(settings, { now: new Date() })
  await plant('itsm/source.json', '{}')
  const held = await repository.storage.lock('itsm', 'writer', 'exclusive', lockRequest())
  await held.release()
  expect(await (await openRepository(settings)).sources()).toEqual(['itsm'])
  const left = (await repository.storage.list('')).filter(({ name }) => name.startsWith('.partial-probe-'))
  expect(left.map(({ name }) => name).sort()).toEqual([
    '.partial-probe-',
    '.partial-probe-0000000000000000',
    '.partial-probe-1',
    '.partial-probe-2',
  ])
})
