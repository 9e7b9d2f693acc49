import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ListMultipartUploadsCommand, ListObjectsV2Command } from '@aws-sdk/client-s3'
import Database from 'better-sqlite3'
import { expect, test } from 'vitest'
import { copy } from '../../src/operations/copy.js'
import { addKeys } from '../../src/operations/keys/add-keys.js'
import { list } from '../../src/operations/list.js'
import { prune } from '../../src/operations/prune.js'
import { restore } from '../../src/operations/restore.js'
import { verify } from '../../src/operations/verify.js'
import { openRepository } from '../../src/repository/open.js'
import { type Locking, type S3Settings, s3Location } from '../../src/repository/storage/s3/settings.js'
import { changeDatabase } from '../end-to-end/helpers/database.js'
import { startS3 } from '../helpers/s3-server.js'
import {
  atMostParts,
  type Behaviour,
  conflicts,
  equalParts,
  ignoresCondition,
  noChecksums,
  oddPages,
  refusesCondition,
  type StoreProxy,
  storeProxy,
  wantsDigests,
} from '../helpers/store-proxy.js'
import { type Application, application } from './application.js'
import { encryptedApplication, keyFile } from './sealing/encrypted.js'
import { shelf } from './shelf.js'
import { historyContent, name, segmentContent, system, walShelf } from './wal-shelf.js'

const server = await startS3()
const MiB = 1024 * 1024

interface Store {
  app: Application
  place: S3Settings
  proxy: StoreProxy
}

/** An application whose repository is to lie on a store that behaves so. */
async function storeThat(
  behaviours: readonly Behaviour[],
  settings: Partial<S3Settings> = {},
  isEncrypted = false,
): Promise<Store> {
  const proxy = await storeProxy(server, ...behaviours)
  const place = await server.newPlace({ endpoint: proxy.endpoint, ...settings })
  const repository = { name: 'offsite', path: s3Location(place), s3: place }
  const app = isEncrypted ? await encryptedApplication([keyFile()], { repository }) : await application({ repository })
  return { app, place, proxy }
}

/** Adds so much that does not compress: the backup's data is uploaded in parts. */
function grow({ source: { path } }: Application, mebibytes: number): void {
  const database = new Database(path)
  database.exec('CREATE TABLE noise (bytes BLOB)')
  for (let done = 0; done < mebibytes; done += 1) database.exec('INSERT INTO noise VALUES (randomblob(1048576))')
  database.close()
}

/** Everything that lies in the bucket, unfinished uploads too. */
async function leftIn({ bucket }: S3Settings): Promise<string[]> {
  const { Contents = [] } = await server.client.send(new ListObjectsV2Command({ Bucket: bucket }))
  const { Uploads = [] } = await server.client.send(new ListMultipartUploadsCommand({ Bucket: bucket }))
  return [...Contents, ...Uploads].map(({ Key = '' }) => Key)
}

/** Two backups, of which the older one is pruned once it is old enough; the other is verified and restored. */
async function roundTrip({ app, proxy }: Store): Promise<void> {
  const { repository } = app.source
  const repositories = [repository]
  const [first] = (await app.create()).backups
  await changeDatabase(app.source.path, 1)
  const wanted = readFileSync(app.source.path)
  const second = await app.create({ type: 'full' })
  expect(second.failures).toEqual([])
  const ids = async () =>
    (await list(app.context, { repositories, source: undefined, all: false })).backups.map(({ id }) => id)
  expect(await ids()).toEqual([first?.id, second.backups[0]?.id])
  const { results } = await verify(app.context, app.journal, { repositories, sources: [], targets: [], drill: false })
  expect(results.map(({ status }) => status)).toEqual(['ok', 'ok'])
  const path = join(dirname(app.source.path), 'restored.db')
  await restore(app.context, app.journal, {
    repositories,
    backup: 'app',
    target: { kind: 'path', path, force: false },
    source: app.source,
    at: undefined,
    dryRun: false,
  })
  expect(readFileSync(path).equals(wanted)).toBe(true)
  const pruned = () =>
    prune(app.context, app.journal, { sources: [{ name: 'app', repository, keep: { last: 1 } }], dryRun: false })
  if (repository.s3?.locking === 'single-writer') {
    const young = await pruned()
    expect([young.delete, young.keep.some(({ id }) => id === first?.id)]).toEqual([[], true])
  }
  proxy.aged = 11 * 60_000
  expect((await pruned()).delete.map(({ id }) => id)).toEqual([first?.id])
  expect(await ids()).toEqual([second.backups[0]?.id])
}

test.each<[string, Behaviour, Partial<S3Settings>, boolean]>([
  ['answers 409 while another write is under way,', conflicts(2), {}, false],
  ['ignores conditions, with a single writer and encryption,', ignoresCondition, { locking: 'single-writer' }, true],
])(
  'a store that %s lists in odd pages, knows no new checksums and insists on equal parts holds a repository',
  { timeout: 120_000 },
  async (_, behaviour, settings, isEncrypted) => {
    const behaviours = [behaviour, noChecksums, equalParts(), oddPages]
    const store = await storeThat(behaviours, { ...settings, partSize: 5 * MiB }, isEncrypted)
    grow(store.app, 12)
    await roundTrip(store)
    expect(store.proxy.seen.filter(({ query }) => query.has('partNumber')).length).toBe(6)
  },
)

test.each<[string, Behaviour]>([
  ['ignores conditions and overwrites', ignoresCondition],
  ['answers 501 to a condition', refusesCondition(501, 'NotImplemented')],
  ['answers 400 to a condition', refusesCondition(400, 'InvalidArgument')],
])('a store that %s is refused at the first write, and nothing stays there', async (_, behaviour) => {
  const { app, place, proxy } = await storeThat([behaviour])
  const { backups, failures } = await app.create()
  expect(backups).toEqual([])
  expect(failures).toMatchObject([
    { code: 'conditional_write_missing', hint: expect.stringContaining('"locking: single-writer"') },
  ])
  expect(await leftIn(place)).toEqual([])
  // What the hint says helps.
  const again = await application({
    repository: { name: 'offsite', path: s3Location(place), s3: { ...place, locking: 'single-writer' } },
  })
  expect((await again.create()).failures).toEqual([])
  expect(proxy.seen.filter(({ headers }) => headers['if-none-match'] !== undefined).length).toBeLessThan(5)
})

test('a store that takes fewer parts than AWS says so by its refusal: the setting is named, and nothing stays', async () => {
  const { app, place } = await storeThat([atMostParts(2)], { partSize: 5 * MiB })
  grow(app, 12)
  const { failures } = await app.create()
  expect(failures).toMatchObject([{ code: 'part_refused', hint: expect.stringContaining('"max_parts: 2"') }])
  expect((await leftIn(place)).filter(name => name.includes('/app/20') || name.includes('.pending'))).toEqual([])
  expect(existsSync(app.source.path)).toBe(true)
})

test('into a repository of a single writer one host alone makes and copies backups, until another takes over', async () => {
  const place = await server.newPlace({ locking: 'single-writer' })
  const repository = { name: 'offsite', path: s3Location(place), s3: place }
  const [one, other] = [await application({ name: 'one', repository }), await application({ name: 'two', repository })]
  expect((await one.create()).failures).toEqual([])
  const { failures } = await other.create()
  expect(failures).toMatchObject([
    { kind: 'refused', code: 'writer_elsewhere', hint: expect.stringContaining('nexus-backup create two --take-over') },
  ])
  // The same as a copy.
  const local = await application({ name: 'two', copies: [{ repository, keep: {} }] })
  expect(await local.create()).toMatchObject({ failures: [], copy_failures: [{ code: 'writer_elsewhere' }] })
  other.context.takeOver = true
  expect((await other.create()).failures).toEqual([])
  expect(other.warnings).toEqual([expect.stringContaining('takes over from "db1"')])
  other.context.takeOver = false
  expect((await other.create()).failures).toEqual([])
  expect((await one.create()).failures).toMatchObject([{ code: 'writer_elsewhere' }])
  const everything = { repositories: [repository], sources: [], targets: [], drill: false }
  const { results } = await verify(one.context, one.journal, everything)
  expect(results.map(({ status }) => status)).toEqual(['ok', 'ok', 'ok'])
})

test.each<[Locking, Locking, boolean]>([
  ['conditional', 'single-writer', true],
  ['single-writer', 'conditional', false],
])('from %s to %s: the refusal says how, and the copy goes on as the repository that it came from', async (made, wanted, isEncrypted) => {
  // What the one store lacks is why a repository moves.
  const proxy = await storeProxy(server)
  const place = await server.newPlace({ endpoint: proxy.endpoint, locking: made })
  const repository = { name: 'offsite', path: s3Location(place), s3: place }
  const key = keyFile()
  const app = isEncrypted ? await encryptedApplication([key], { repository }) : await application({ repository })
  const [full] = (await app.create()).backups
  const ignoring = await storeProxy(server, ignoresCondition)
  const changed = { ...place, endpoint: wanted === 'conditional' ? proxy.endpoint : ignoring.endpoint, locking: wanted }
  const { encryption } = app.source.repository
  const sourceAt = (s3: S3Settings, name: string) => ({
    ...app.source,
    repository: { name, path: s3Location(s3), s3, ...(encryption === undefined ? {} : { encryption }) },
  })
  const before = proxy.seen.filter(({ method }) => method !== 'GET').length
  const { failures } = await app.create({ sources: [sourceAt(changed, 'offsite')] })
  expect(failures).toMatchObject([
    {
      code: 'locking_differs',
      hint: expect.stringContaining(`nexus-backup copy --from ${s3Location(place)} --to NAME --init`),
    },
  ])
  expect(proxy.seen.filter(({ method }) => method !== 'GET').length).toBe(before)
  const other = sourceAt({ ...changed, prefix: 'backups/other' }, 'other')
  const { locking: _, ...readable } = place
  const from = sourceAt({ ...readable, endpoint: changed.endpoint }, 'offsite').repository
  const tasks = [{ source: 'app', from, to: other.repository }]
  const copied = await copy(app.context, app.journal, { tasks, init: true, dryRun: false })
  expect(copied).toMatchObject({ failures: [], copies: [{ backups: [full?.id], problems: [] }] })
  // What opens the copies is not what new backups are sealed to.
  if (isEncrypted)
    await addKeys(app.context, app.journal, { repository: other.repository, recipients: [key], label: null })
  await changeDatabase(app.source.path, 1)
  const { backups, failures: later } = await app.create({ sources: [other] })
  expect(later).toEqual([])
  expect(backups).toMatchObject([{ type: 'incr', parent: full?.id }])
  const everything = { repositories: [other.repository], sources: [], targets: [], drill: false }
  const { results } = await verify(app.context, app.journal, everything)
  expect(results.map(({ status }) => status)).toEqual(['ok', 'ok'])
})

test('the log in a repository of a single writer: the same again is a success, anything else is refused', async () => {
  const proxy = await storeProxy(server, ignoresCondition)
  const place = await server.newPlace({ endpoint: proxy.endpoint, locking: 'single-writer' })
  const archive = (await walShelf(place)).archive()
  const times = { closedAt: new Date(), now: new Date() }
  const segment = segmentContent(1)
  expect(await archive.put(name(1), segment, times)).toBe('stored')
  // Another process, which knows nothing of the first, and needs no state directory.
  const again = (await openRepository({ path: s3Location(place), s3: place })).source('db').wal(system)
  expect(await again.put(name(1), segment, times)).toBe('identical')
  const differing = Buffer.from(segment)
  differing[9000] = 1
  await expect(again.put(name(1), differing, times)).rejects.toMatchObject({ kind: 'refused', code: 'wal_differs' })
  expect(await again.put('00000002.history', historyContent([[1, 8]]), times)).toBe('stored')
  expect((await archive.read(name(1))).plain.equals(segment)).toBe(true)
  expect(proxy.seen.filter(({ headers }) => headers['if-none-match'] !== undefined)).toEqual([])
})

test('a store that wants digests of what it locks, and knows no new ones, locks objects, parts and what it extends', async () => {
  const proxy = await storeProxy(server, wantsDigests(), noChecksums)
  // Ceph 16 forgets conditions in such a bucket, which one writer does not need.
  const locks = (days: number) => ({ locking: 'single-writer', objectLock: { mode: 'GOVERNANCE', days } }) as const
  const place = await server.newPlace({ endpoint: proxy.endpoint, ...locks(2) }, { objectLock: true })
  const one = await shelf('offsite', place)
  const id = await one.add(1)
  const lockOf = async () => (await one.room('itsm').lockedUntil([id])).get(id)?.getTime() ?? 0
  const inDays = (days: number) => Date.now() + days * 24 * 3600 * 1000
  expect(Math.abs((await lockOf()) - inDays(2))).toBeLessThan(60_000)
  const longer = await openRepository({ path: s3Location(place), s3: { ...place, ...locks(30) } })
  expect(await longer.source('itsm').extendLocks([id])).toBe(1)
  expect(Math.abs((await lockOf()) - inDays(30))).toBeLessThan(60_000)
  const pending = await longer.storage.begin('itsm/20251103T030000.000Z-full-aaaa')
  const writer = await pending.create('itsm.db.zst')
  for (let part = 0; part < 3; part += 1) await writer.write(randomBytes(5 * MiB))
  expect((await writer.close()).bytes).toBe(15 * MiB)
  expect(proxy.seen.filter(({ query }) => query.has('partNumber')).length).toBe(2)
})
