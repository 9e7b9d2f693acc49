import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PutObjectCommand } from '@aws-sdk/client-s3'
import { describe, expect, test } from 'vitest'
import { initRepository, openRepository } from '../../../src/repository/open.js'
import type { WriterHost } from '../../../src/repository/storage/locks.js'
import { formatLease, type Holder, leaseName, ownLeaseName } from '../../../src/repository/storage/s3/lease-state.js'
import { S3Storage } from '../../../src/repository/storage/s3/s3.js'
import { type Locking, type S3Settings, s3Location } from '../../../src/repository/storage/s3/settings.js'
import { lockRequest, writerOn } from '../../helpers/lock-request.js'
import { startS3 } from '../../helpers/s3-server.js'
import { ignoresCondition, type StoreProxy, storeProxy } from '../../helpers/store-proxy.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { forged, garbled } from '../../operations/hostile-objects.js'

const server = await startS3()
const id = '20251103T030000.123Z-full-7f3a'
const leases = { lease: 4000, renewal: 500 }

/** A place on a store without conditional writes, where one host alone writes. */
async function newPlace(): Promise<S3Settings & { proxy: StoreProxy }> {
  const proxy = await storeProxy(server, ignoresCondition)
  const place = await server.newPlace({ endpoint: proxy.endpoint, locking: 'single-writer' })
  return Object.assign(place, { proxy })
}

async function plant({ bucket, prefix }: S3Settings, name: string, Body: string | Buffer): Promise<void> {
  await server.client.send(new PutObjectCommand({ Bucket: bucket, Key: `${prefix}/${name}`, Body }))
}

/** A host whose own locks exclude nobody, as of a cloned machine: only leases keep its processes apart. */
function clone(): WriterHost {
  const id = Promise.resolve('00'.repeat(8))
  return { id: () => id, takeOver: false, openLock: async () => ({ tryTake: () => true, close: () => {} }) }
}

/** Requests take effect and are answered after times of their own. */
async function late(): Promise<undefined> {
  await new Promise(resolve => setTimeout(resolve, Math.random() * 20))
  return undefined
}

const names = async (storage: S3Storage, directory: string) => (await storage.list(directory)).map(({ name }) => name)

describe('the host that writes', () => {
  test('is the first one; another is refused, changes nothing, and is told who writes and how to take over', async () => {
    const place = await newPlace()
    const [one, other] = [temporaryDirectory(), temporaryDirectory()]
    const storage = await S3Storage.open(place)
    const first = lockRequest({ writer: writerOn(one) })
    await (await storage.lock('itsm', 'writer', 'exclusive', first)).release()
    const before = place.proxy.seen.filter(({ method }) => method !== 'GET').length
    const asking = lockRequest({ writer: writerOn(other), host: 'db2', purpose: 'prune itsm' })
    const refused = {
      kind: 'refused',
      code: 'writer_elsewhere',
      message: expect.stringMatching(/that is "db1" \(host [0-9a-f]{16}, since 20.*Z\)$/),
      hint: expect.stringContaining('nexus-backup prune itsm --take-over'),
    }
    const elsewhere = await S3Storage.open(place)
    await expect(elsewhere.lock('itsm', 'writer', 'exclusive', asking)).rejects.toMatchObject(refused)
    expect(place.proxy.seen.filter(({ method }) => method !== 'GET').length).toBe(before)
    // Whoever only reads is no writer.
    await plant(place, `itsm/${id}/manifest.json`, '{}')
    const reading = await elsewhere.lock('itsm', 'delete', 'shared', asking)
    expect(reading.unlocked).toBe(false)
    await reading.release()

    const said: string[] = []
    const taking = { ...asking, writer: writerOn(other, true), onWait: (message: string) => void said.push(message) }
    await (await elsewhere.lock('itsm', 'writer', 'exclusive', taking)).release()
    expect(said).toEqual([expect.stringContaining('takes over from "db1"')])
    await expect(storage.lock('itsm', 'writer', 'exclusive', first)).rejects.toMatchObject({
      ...refused,
      message: expect.stringContaining('"db2"'),
      hint: expect.stringContaining('nexus-backup create itsm --take-over'),
    })
    // From now on it needs no flag.
    await (await elsewhere.lock('itsm', 'writer', 'exclusive', asking)).release()
  })

  test('that was relieved while it wrote commits nothing and removes nothing', async () => {
    const place = await newPlace()
    const storage = await S3Storage.open(place)
    const held = await storage.lock(
      'itsm',
      'writer',
      'exclusive',
      lockRequest({ writer: writerOn(temporaryDirectory()) }),
    )
    const pending = await storage.begin(`itsm/${id}`)
    for (const name of ['part', 'manifest.json']) await (await pending.create(name)).close()
    // Of another source, so that no lease is in the way.
    const taking = lockRequest({ writer: writerOn(temporaryDirectory(), true), host: 'db2' })
    await (await (await S3Storage.open(place)).lock('other', 'writer', 'exclusive', taking)).release()
    const relieved = { kind: 'refused', code: 'writer_elsewhere' }
    await expect(pending.commit()).rejects.toMatchObject(relieved)
    await plant(place, `itsm/${id}/manifest.json`, '{}')
    await expect(storage.remove(`itsm/${id}`)).rejects.toMatchObject(relieved)
    await held.release()
    expect(await names(storage, `itsm/${id}`)).toContain('manifest.json')
  })

  test.each(['', '{"format":1}', '{"format":1,"host_id":"../../x"}'])('told by %j is damage', async text => {
    const place = await newPlace()
    await plant(place, 'locks/writer.json', text)
    const locking = (await S3Storage.open(place)).lock('itsm', 'writer', 'exclusive', lockRequest())
    await expect(locking).rejects.toMatchObject({ kind: 'damage', code: 'writer_damaged' })
  })

  test('told by whatever somebody has put there is damage or another host, stays as it is, and keeps no reader out', async () => {
    const place = await newPlace()
    const storage = await S3Storage.open(place)
    const { release } = await storage.lock('itsm', 'writer', 'exclusive', lockRequest())
    await release()
    const written = await storage.readSmall('locks/writer.json', 1 << 16)
    await plant(place, `itsm/${id}/manifest.json`, '{}')
    const file = join(temporaryDirectory(), 'writer.json')
    const huge = { name: 'too large', put: (path: string) => writeFileSync(path, Buffer.alloc(100_000, ' ')) }
    // The last one has gigabytes.
    for (const { name, put } of [
      ...garbled.slice(0, -1),
      huge,
      ...[0, 1, 2, 3].flatMap(seed => forged(written, seed)),
    ]) {
      writeFileSync(file, written)
      put(file)
      const planted = readFileSync(file)
      await plant(place, 'locks/writer.json', planted)
      const taken = await storage.lock('itsm', 'writer', 'exclusive', lockRequest()).then(
        async lock => lock.release().then(() => 'taken'),
        error => error.code,
      )
      const isOwn = planted.includes(JSON.parse(written.toString()).host_id)
      expect(taken, name).toBeOneOf(isOwn ? ['taken', 'writer_damaged'] : ['writer_damaged', 'writer_elsewhere'])
      const reading = await storage.lock('itsm', 'delete', 'shared', lockRequest())
      expect(reading.unlocked, name).toBe(false)
      await reading.release()
      expect((await storage.readSmall('locks/writer.json', 1 << 20)).equals(planted), name).toBe(true)
    }
  })

  test('takes one writer at a time, whatever the store shows of the leases', async () => {
    const place = await newPlace()
    const writer = writerOn(temporaryDirectory())
    const held = await (await S3Storage.open(place)).lock('itsm', 'writer', 'exclusive', lockRequest({ writer }))
    // Leases that expire at once exclude nobody: the lock of this machine does.
    const blind = await S3Storage.open(place, { leases: { lease: -1000, renewal: 500 } })
    const locking = blind.lock('itsm', 'writer', 'exclusive', lockRequest({ writer }))
    await expect(locking).rejects.toMatchObject({ kind: 'locked', code: 'locked' })
    await held.release()
  })
})

describe('leases without conditional writes', () => {
  test('keep apart who would overwrite each other, in whatever order requests arrive, and let everybody in', async () => {
    const proxy = await storeProxy(server, ignoresCondition, late)
    const place = await server.newPlace({ endpoint: proxy.endpoint, locking: 'single-writer' })
    await plant(place, `itsm/${id}/manifest.json`, '{}')
    let writing = 0
    let most = 0
    const turnsOf = async (lock: 'writer' | 'delete', mode: 'exclusive' | 'shared') => {
      const storage = await S3Storage.open(place)
      for (let turn = 0; turn < 2; turn += 1) {
        const held = await storage.lock('itsm', lock, mode, lockRequest({ writer: clone(), waitSeconds: 120 }))
        if (mode === 'exclusive') most = Math.max(most, ++writing)
        await late()
        if (mode === 'exclusive') writing -= 1
        await held.release()
      }
    }
    const writers = Array.from({ length: 4 }, () => turnsOf('writer', 'exclusive'))
    await Promise.all([...writers, turnsOf('delete', 'shared'), turnsOf('delete', 'shared')])
    expect([most, writing]).toEqual([1, 0])
  })

  test('count all states of one number, of which a killed run may have left one', async () => {
    const place = await newPlace()
    const renewed = new Date().toISOString()
    const of = (purpose: string, token: string): Holder => ({
      ...{ lock: 'writer', mode: 'exclusive', token: token.repeat(32), host: 'db2', user: 'root', pid: 4711, purpose },
      ...{ machine: 'another', since: renewed, renewed },
    })
    await plant(place, `locks/itsm/${ownLeaseName(3)}`, formatLease([]))
    await plant(place, `locks/itsm/${ownLeaseName(3)}`, formatLease([of('prune itsm', 'a')]))
    await plant(place, `locks/itsm/${leaseName(2)}`, formatLease([of('create itsm', 'b')]))
    const locking = (await S3Storage.open(place, { leases })).lock('itsm', 'writer', 'exclusive', lockRequest())
    await expect(locking).rejects.toMatchObject({
      kind: 'locked',
      message: expect.stringMatching(/^itsm is locked by prune itsm \(/),
    })
  })
})

describe('what is written once', () => {
  test('is not believed when another wrote it at the same moment', async () => {
    for (const size of [10, 2 * 1024 * 1024]) {
      let isReplaced = false
      const replacing = async ({ method, path }: { method: string; path: string }) => {
        const isBack = ['GET', 'HEAD'].includes(method) && path.endsWith('/itsm/once') && isWritten()
        if (isBack && !isReplaced) {
          isReplaced = true
          await plant(place, 'itsm/once', Buffer.alloc(size, 'b'))
        }
        return undefined
      }
      const proxy = await storeProxy(server, replacing)
      const isWritten = () => proxy.seen.some(({ method, path }) => method === 'PUT' && path.endsWith('/itsm/once'))
      const place = await server.newPlace({ endpoint: proxy.endpoint, locking: 'single-writer' })
      const storage = await S3Storage.open(place)
      await expect(storage.writeOnce('itsm/once', Buffer.alloc(size, 'a'))).rejects.toMatchObject({ code: 'exists' })
      expect(isReplaced).toBe(true)
    }
  })

  test('is asked for without any condition', async () => {
    const place = await newPlace()
    const storage = await S3Storage.open(place)
    await storage.writeOnce('itsm/once', Buffer.from('a'))
    await expect(storage.writeOnce('itsm/once', Buffer.from('b'))).rejects.toMatchObject({ code: 'exists' })
    expect((await storage.readSmall('itsm/once', 10)).toString()).toBe('a')
    await (await storage.lock('itsm', 'writer', 'exclusive', lockRequest())).release()
    expect(place.proxy.seen.filter(({ headers }) => headers['if-none-match'] !== undefined)).toEqual([])
  })
})

test('what is younger than two leases counts as locked', async () => {
  const place = await newPlace()
  await plant(place, `itsm/${id}/manifest.json`, '{}')
  await plant(place, 'itsm/wal/1/2', 'x')
  const storage = await S3Storage.open(place)
  const dates = [...(await storage.lockedUntil([`itsm/${id}`])), ...(await storage.filesLockedUntil(['itsm/wal/1/2']))]
  for (const date of dates) expect(Math.abs((date?.getTime() ?? 0) - Date.now() - 600_000)).toBeLessThan(60_000)
  place.proxy.aged = 601_000
  expect(await storage.lockedUntil([`itsm/${id}`, 'itsm/gone'])).toEqual([undefined, undefined])
  expect(await storage.filesLockedUntil(['itsm/wal/1/2', 'itsm/gone'])).toEqual([undefined, undefined])
})

describe('how a repository is locked', () => {
  const all: readonly (Locking | undefined)[] = [undefined, 'conditional', 'single-writer']
  const cases = all.flatMap(made => all.map(configured => [made, configured] as const))

  test.each(
    cases,
  )('made with %s, configured as %s: the same for all, or refused with the line to write', async (made, configured) => {
    const { locking: _, ...place } = await server.newPlace()
    const settings = (locking: Locking | undefined) => ({
      path: s3Location(place),
      s3: locking === undefined ? place : { ...place, locking },
    })
    await initRepository(settings(made), { now: new Date() })
    const { storage, sources } = await openRepository(settings(configured))
    expect(await sources()).toEqual([])
    const recorded = made ?? 'conditional'
    if (configured !== undefined && configured !== recorded) {
      const differs = {
        kind: 'configuration',
        code: 'locking_differs',
        hint: expect.stringContaining(`"locking: ${recorded}"`),
      }
      await expect(storage.lock('itsm', 'writer', 'exclusive', lockRequest())).rejects.toMatchObject(differs)
      await expect(storage.writeOnce('itsm/a', Buffer.alloc(1))).rejects.toMatchObject(differs)
      await expect(storage.replace('itsm/a', Buffer.alloc(1))).rejects.toMatchObject(differs)
      await expect(storage.begin(`itsm/${id}`)).rejects.toMatchObject(differs)
      // Who only reads takes the lock that the repository knows, and leaves no proof.
      await plant(place, `itsm/${id}/manifest.json`, '{}')
      const said: string[] = []
      const onWait = (message: string) => void said.push(message)
      const reading = await storage.lock('itsm', 'delete', 'shared', lockRequest({ onWait }))
      expect([reading.unlocked, storage.writable]).toEqual([false, false])
      expect(said).toEqual([expect.stringMatching(/ was made with locking: .*: it is only read$/)])
      await reading.release()
      return
    }
    await (await storage.lock('itsm', 'writer', 'exclusive', lockRequest())).release()
    const states = (await storage.list('locks/itsm')).map(({ name }) => name.length > 16)
    expect(states).toEqual(states.map(() => recorded === 'single-writer'))
  })

  test('by a later version is read, and not written', async () => {
    const place = await server.newPlace()
    await initRepository({ path: s3Location(place), s3: place }, { now: new Date() })
    const storage = await S3Storage.open(place)
    storage.followLocking('quorum')
    await expect(storage.lock('itsm', 'writer', 'exclusive', lockRequest())).rejects.toMatchObject({
      code: 'locking_unknown',
    })
    await plant(place, `itsm/${id}/manifest.json`, '{}')
    expect(await storage.lock('itsm', 'delete', 'shared', lockRequest())).toMatchObject({ unlocked: true })
    expect((await storage.list('locks')).length).toBe(0)
  })
})
