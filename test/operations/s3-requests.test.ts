import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { list } from '../../src/operations/list.js'
import { prune } from '../../src/operations/prune.js'
import { restore } from '../../src/operations/restore.js'
import { verify } from '../../src/operations/verify.js'
import { type S3Settings, s3Location } from '../../src/repository/storage/s3/settings.js'
import { changeDatabase } from '../end-to-end/helpers/database.js'
import { startS3 } from '../helpers/s3-server.js'
import { storeProxy } from '../helpers/store-proxy.js'
import { application } from './application.js'
import { encryptedApplication, keyFile } from './sealing/encrypted.js'

const server = await startS3()

/**
 * Requests that each command makes, of which every one costs money and, far from the store, a tenth of a second: at most
 * these. A new one needs a reason.
 */
const most: Record<string, [plain: number, singleWriter: number, encrypted: number]> = {
  first: [51, 68, 90],
  incr: [43, 56, 51],
  list: [10, 10, 16],
  verify: [57, 60, 78],
  restore: [35, 34, 41],
  prune: [66, 74, 75],
  'prune nothing': [25, 25, 30],
}

/** Of these, those that wait for the answer to one before: what is asked at the same time counts once. */
const mostRounds: Record<string, [plain: number, singleWriter: number, encrypted: number]> = {
  first: [43, 61, 69],
  incr: [34, 48, 40],
  list: [7, 7, 11],
  verify: [47, 53, 66],
  restore: [28, 28, 36],
  prune: [48, 57, 57],
  'prune nothing': [19, 20, 24],
}

/** A lease is renewed once a minute, which a busy machine may take. */
const RENEWAL = 4

test.each<[string, number, Partial<S3Settings>, boolean]>([
  ['a plain repository', 0, {}, false],
  ['a repository of a single writer', 1, { locking: 'single-writer' }, false],
  ['an encrypted repository', 2, {}, true],
])('%s is asked no more than needed, on few connections', async (_, column, settings, isEncrypted) => {
  const proxy = await storeProxy(server)
  const place = await server.newPlace({ endpoint: proxy.endpoint, ...settings })
  const repository = { name: 'offsite', path: s3Location(place), s3: place }
  const app = isEncrypted ? await encryptedApplication([keyFile()], { repository }) : await application({ repository })
  const { context, journal, source } = app
  const repositories = [source.repository]
  const counts: Record<string, number> = {}
  const rounds: Record<string, number> = {}
  const connections: Record<string, number> = {}
  const counted = async (name: string, work: () => Promise<unknown>) => {
    const [requests, before, made] = [proxy.seen.length, proxy.rounds, proxy.connections]
    await work()
    counts[name] = proxy.seen.length - requests
    rounds[name] = proxy.rounds - before
    connections[name] = proxy.connections - made
  }
  const create = async (type: 'full' | 'incr') => {
    expect((await app.create({ type })).failures).toEqual([])
    await changeDatabase(source.path, Object.keys(counts).length + 1)
  }
  await counted('first', () => create('full'))
  await counted('incr', () => create('incr'))
  await counted('list', () => list(context, { repositories, source: undefined, all: false }))
  await counted('verify', () => verify(context, journal, { repositories, sources: [], targets: [], drill: false }))
  const path = join(dirname(source.path), 'restored.db')
  const target = { kind: 'path' as const, path, force: false }
  const wanted = { repositories, backup: 'app', target, source, at: undefined, dryRun: false }
  await counted('restore', () => restore(context, journal, wanted))
  await create('full')
  proxy.aged = 11 * 60_000
  const sources = [{ name: 'app', repository: source.repository, keep: { last: 1 } }]
  const pruned = async () => (await prune(context, journal, { sources, dryRun: false })).delete.length
  await counted('prune', async () => expect(await pruned()).toBe(2))
  await counted('prune nothing', async () => expect(await pruned()).toBe(0))
  const above = (found: typeof counts, limits: typeof most) =>
    Object.entries(found).filter(([name, count]) => count > (limits[name]?.[column] ?? 0) + RENEWAL)
  expect(above(counts, most)).toEqual([])
  expect(above(rounds, mostRounds)).toEqual([])
  expect(Object.entries(connections).filter(([, count]) => count > 20)).toEqual([])
})
