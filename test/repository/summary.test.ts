import fc from 'fast-check'
import { expect, test } from 'vitest'
import { initRepository, openRepository } from '../../src/repository/open.js'
import { SummarizedFiles } from '../../src/repository/small-files.js'
import { S3Storage } from '../../src/repository/storage/s3/s3.js'
import type { S3Settings } from '../../src/repository/storage/s3/settings.js'
import { formatSummary, parseSummary, summaryNumber } from '../../src/repository/summary.js'
import type { SourceRoom } from '../../src/repository/types.js'
import { faultProxy } from '../helpers/fault-proxy.js'
import { startS3 } from '../helpers/s3-server.js'
import { exampleManifest } from './manifests.js'

const server = await startS3()

test('a summary gives back what was put in, and anything else is damage', () => {
  const texts = fc
    .dictionary(
      fc.string().map(name => `id/${name}`),
      fc.string(),
    )
    .map(files => new Map(Object.entries(files)))
  fc.assert(
    fc.property(texts, wanted => {
      expect(parseSummary(formatSummary(wanted), 'here')).toEqual(wanted)
    }),
  )
  const bytes = formatSummary(new Map([['a/manifest.json', '{"sequence":1}']]))
  for (let at = 0; at < bytes.length; at += 1) {
    const flipped = Buffer.from(bytes)
    flipped[at] = (flipped[at] ?? 0) ^ 1
    const read = () => parseSummary(flipped, 'here')
    // What a flip leaves readable still says the same.
    try {
      expect(Object.fromEntries(read())).toEqual({ 'a/manifest.json': '{"sequence":1}' })
    } catch (error) {
      expect(error).toMatchObject({ kind: 'damage', code: 'summary_damaged' })
    }
  }
  expect([summaryNumber('12.json.zst'), summaryNumber('0.json.zst'), summaryNumber('x')]).toEqual([
    12,
    undefined,
    undefined,
  ])
})

async function backUp(room: SourceRoom, from: number, to: number): Promise<void> {
  const numbers = Array.from({ length: to - from }, (_, n) => from + n)
  await Promise.all(
    numbers.map(async sequence => {
      const manifest = exampleManifest({ sequence, at: new Date(Date.UTC(2025, 0, 1, 0, sequence)) })
      await (await room.begin(manifest.id)).commit(manifest, [])
    }),
  )
}

test('fifty backups are summed up: they cost one request, not a hundred, and a verify reads them all the same', async () => {
  const proxy = await faultProxy(server.endpoint)
  const s3: S3Settings = await server.newPlace({ endpoint: proxy.endpoint })
  const place = { path: 's3', s3 }
  const room = (await initRepository(place, { now: new Date(0) })).source('itsm')
  await backUp(room, 1, 50)
  const before = await room.entries()
  await room.summarize()
  expect(before).toHaveLength(49)
  const storage = await S3Storage.open(s3)
  expect(await storage.list('itsm/index')).toEqual([])
  await backUp(room, 50, 52)
  await room.entries()
  await room.summarize()
  expect((await storage.list('itsm/index')).map(({ name }) => name)).toEqual(['1.json.zst'])

  const again = (await openRepository(place)).source('itsm')
  const seen = proxy.seen.length
  const entries = await again.entries()
  expect(entries.map(({ status }) => status)).toEqual(Array(51).fill('ok'))
  expect(proxy.seen.length - seen).toBeLessThanOrEqual(5)
  const thorough = await again.entries({ thorough: true })
  expect(thorough).toEqual(entries)
  expect(proxy.seen.length - seen).toBeGreaterThan(100)

  // A manifest that was changed later: a verify sees it.
  const [first] = entries
  await storage.replace(`itsm/${first?.id}/manifest.json`, Buffer.from('{}'))
  expect((await again.entries({ thorough: true })).filter(({ status }) => status === 'damaged')).toHaveLength(1)

  // Half of them go: the next summary holds what is left.
  for (const { id } of entries.slice(0, 40)) await again.remove(id)
  await again.summarize({ pruned: true })
  expect((await storage.list('itsm/index')).map(({ name }) => name)).toEqual(['2.json.zst'])
  const left = (await openRepository(place)).source('itsm')
  expect(await left.entries()).toEqual(entries.slice(40))

  // Broken, it is done without.
  await storage.replace('itsm/index/2.json.zst', Buffer.from('x'))
  const without = (await openRepository(place)).source('itsm')
  expect(await without.entries()).toEqual(entries.slice(40))
})

test('a summary that cannot be written hinders nobody', async () => {
  const proxy = await faultProxy(server.endpoint)
  const storage = await S3Storage.open(await server.newPlace({ endpoint: proxy.endpoint }))
  for (let n = 0; n < 100; n += 1) await storage.writeOnce(`itsm/proofs/${n}`, Buffer.from('x'))
  const files = new SummarizedFiles(storage, 'itsm')
  for (let n = 0; n < 100; n += 1) await files.readSmall(`itsm/proofs/${n}`, 10)
  proxy.rule = (_, what) => (what.startsWith('PUT') ? '403' : undefined)
  await files.keep(false)
  proxy.rule = () => undefined
  expect(await storage.list('itsm/index')).toEqual([])
  await files.keep(false)
  expect(await storage.list('itsm/index')).toHaveLength(1)
})
