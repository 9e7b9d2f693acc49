import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  describeLeases,
  formatLease,
  type Holder,
  isExpired,
  leaseName,
  leaseNumber,
  parseLease,
} from '../../../src/repository/storage/s3/lease-state.js'
import { machineId } from '../../../src/repository/storage/s3/machine.js'
import { S3Storage } from '../../../src/repository/storage/s3/s3.js'
import type { S3Settings } from '../../../src/repository/storage/s3/settings.js'
import { faultProxy } from '../../helpers/fault-proxy.js'
import { lockRequest } from '../../helpers/lock-request.js'
import { startS3 } from '../../helpers/s3-server.js'

const server = await startS3()
const id = '20251103T030000.123Z-full-7f3a'
/** Short, and yet so long that a busy machine does not lose one. */
const leases = { lease: 4000, renewal: 500 }

function holder(change: Partial<Holder> = {}): Holder {
  const now = new Date().toISOString()
  const token = randomBytes(16).toString('hex')
  const self = { host: 'db2', user: 'root', pid: 4711, purpose: 'create itsm', machine: 'another' }
  return { lock: 'writer', mode: 'exclusive', token, ...self, since: now, renewed: now, ...change }
}

/** Writes a state as another version of this program would. */
async function writeState({ bucket, prefix }: S3Settings, number: number, holders: Holder[]): Promise<void> {
  const Key = `${prefix}/locks/itsm/${leaseName(number)}`
  await server.client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: formatLease(holders) }))
}

describe('a lease on an object store', () => {
  test('of somebody else is waited for, and its holder named', async () => {
    const place = await server.newPlace()
    await writeState(place, 7, [holder({ since: '2025-11-03T03:00:00.000Z' })])
    const storage = await S3Storage.open(place)
    await expect(storage.lock('itsm', 'writer', 'exclusive', lockRequest())).rejects.toMatchObject({
      kind: 'locked',
      message: expect.stringMatching(
        /^itsm is locked by create itsm \(user root, process 4711 on db2, since 2025-11-03T03:00:00Z, unless renewed until /,
      ),
    })
  })

  test('ends when nobody renews it, and not before, however wrong the clock here is', async () => {
    const place = await server.newPlace()
    await writeState(place, 1, [holder({ renewed: new Date(Date.now() - 290_000).toISOString() })])
    const storage = await S3Storage.open(place)
    await expect(storage.lock('itsm', 'writer', 'exclusive', lockRequest())).rejects.toMatchObject({ kind: 'locked' })
    await writeState(place, 2, [holder({ renewed: new Date(Date.now() - 310_000).toISOString() })])
    const now = Date.now
    try {
      // Within the five minutes from which on the SDK takes any error for a wrong clock, and tries again for half a minute.
      Date.now = () => now() - 240_000
      await (await storage.lock('itsm', 'writer', 'exclusive', lockRequest())).release()
    } finally {
      Date.now = now
    }
  })

  test('of a process of this machine that is dead ends at once; of one that lives it does not', async () => {
    const place = await server.newPlace()
    const machine = machineId()
    await writeState(place, 1, [holder({ machine, host: hostname(), pid: process.pid })])
    const storage = await S3Storage.open(place)
    await expect(storage.lock('itsm', 'writer', 'exclusive', lockRequest())).rejects.toMatchObject({ kind: 'locked' })
    await writeState(place, 2, [holder({ machine, host: hostname(), pid: 2 ** 22 + 1 })])
    await (await storage.lock('itsm', 'writer', 'exclusive', lockRequest())).release()
  })

  test('is renewed while it is held', async () => {
    const place = await server.newPlace()
    const [one, other] = [await S3Storage.open(place, { leases }), await S3Storage.open(place, { leases })]
    const held = await one.lock('itsm', 'writer', 'exclusive', lockRequest())
    // Longer than a lease lasts: who waits so long in vain has met renewed ones.
    await expect(other.lock('itsm', 'writer', 'exclusive', lockRequest({ waitSeconds: 6 }))).rejects.toMatchObject({
      kind: 'locked',
    })
    await held.release()
    await (await other.lock('itsm', 'writer', 'exclusive', lockRequest())).release()
  })

  test('that was lost stops a backup before its manifest, and a removal before its first step', async () => {
    const place = await server.newPlace()
    const storage = await S3Storage.open(place)
    const held = await storage.lock('itsm', 'writer', 'exclusive', lockRequest())
    const pending = await storage.begin(`itsm/${id}`)
    for (const name of ['part', 'manifest.json']) await (await pending.create(name)).close()
    await writeState(place, 9, [holder({ purpose: 'prune itsm' })])
    const lost = { kind: 'locked', code: 'lease_lost', message: expect.stringContaining('prune itsm') }
    await expect(pending.commit()).rejects.toMatchObject(lost)
    await expect(storage.remove(`itsm/${id}`)).rejects.toMatchObject(lost)
    await pending.discard()
    await held.release()
    // It is whoever took over who removes it.
    expect(await storage.list('itsm')).toEqual([{ name: `.partial-${id}`, kind: 'directory' }])
    await expect(storage.lock('itsm', 'writer', 'exclusive', lockRequest())).rejects.toMatchObject({ kind: 'locked' })
  })

  /** Another host takes the lease over and brings a backup of the same id, as a copy does. */
  async function copyMeanwhile(place: S3Settings): Promise<() => Promise<unknown>> {
    await writeState(place, 9, [])
    const storage = await S3Storage.open(place)
    const held = await storage.lock('itsm', 'writer', 'exclusive', lockRequest())
    await storage.removeLeftovers('itsm')
    const pending = await storage.begin(`itsm/${id}`)
    for (const name of ['part', 'manifest.json']) {
      const writer = await pending.create(name)
      await writer.write(Buffer.from('of the other'))
      await writer.close()
    }
    await pending.commit()
    await held.release()
    return async () => {
      expect(await storage.list('itsm')).toEqual([{ name: id, kind: 'directory' }])
      return (await storage.readSmall(`itsm/${id}/part`, 100)).toString()
    }
  }

  test('that was lost keeps its backup, given up, from taking away the same one that another has copied', async () => {
    const place = await server.newPlace()
    const storage = await S3Storage.open(place)
    const held = await storage.lock('itsm', 'writer', 'exclusive', lockRequest())
    const pending = await storage.begin(`itsm/${id}`)
    await (await pending.create('part')).close()
    const part = await copyMeanwhile(place)
    await pending.discard()
    await held.release()
    expect(await part()).toBe('of the other')
  })

  test('that was lost in the middle of a removal keeps it from taking away the same backup that another has copied', async () => {
    const proxy = await faultProxy(server.endpoint)
    const place = await server.newPlace({ endpoint: proxy.endpoint })
    const storage = await S3Storage.open(place)
    const held = await storage.lock('itsm', 'writer', 'exclusive', lockRequest())
    const pending = await storage.begin(`itsm/${id}`)
    for (const name of ['part', 'manifest.json']) await (await pending.create(name)).close()
    await pending.commit()
    const now = Date.now
    let part: (() => Promise<unknown>) | undefined
    proxy.rule = async (_, what) => {
      if (!what.startsWith('DELETE') || !what.includes('manifest.json') || part !== undefined) return undefined
      part = async () => undefined
      const direct = { ...place, endpoint: server.endpoint }
      const Key = `${place.prefix}/itsm/${id}/manifest.json`
      await server.client.send(new DeleteObjectCommand({ Bucket: place.bucket, Key }))
      part = await copyMeanwhile(direct)
      // The machine slept.
      Date.now = () => now() + 200_000
      return 'accepted'
    }
    try {
      await expect(storage.remove(`itsm/${id}`)).rejects.toMatchObject({ code: 'lease_lost' })
    } finally {
      Date.now = now
    }
    await held.release()
    expect(await part?.()).toBe('of the other')
  })

  test('that was lost while the manifest was written takes the backup back as a leftover, not as damage', async () => {
    const proxy = await faultProxy(server.endpoint)
    const place = await server.newPlace({ endpoint: proxy.endpoint })
    const storage = await S3Storage.open(place)
    const held = await storage.lock('itsm', 'writer', 'exclusive', lockRequest())
    const pending = await storage.begin(`itsm/${id}`)
    for (const name of ['part', 'manifest.json']) await (await pending.create(name)).close()
    const now = Date.now
    let attempts = 0
    let leftovers: string[] | undefined
    proxy.rule = async (_, what) => {
      if (!what.startsWith('PUT') || !what.includes('manifest.json') || attempts === 2) return undefined
      attempts += 1
      if (attempts === 1) return 'answer lost'
      await writeState(place, 9, [])
      const other = await S3Storage.open({ ...place, endpoint: server.endpoint })
      const taken = await other.lock('itsm', 'writer', 'exclusive', lockRequest())
      leftovers = await other.removeLeftovers('itsm')
      await taken.release()
      Date.now = () => now() + 200_000
      return undefined
    }
    try {
      await expect(pending.commit()).rejects.toMatchObject({ code: 'lease_lost' })
    } finally {
      Date.now = now
    }
    await held.release()
    // To the other it was whole.
    expect(leftovers).toEqual([])
    expect(await storage.list('itsm')).toEqual([{ name: `.partial-${id}`, kind: 'directory' }])
  })

  test('that was lost while it worked stops the next write', async () => {
    const place = await server.newPlace()
    const storage = await S3Storage.open(place, { leases: { lease: 4000, renewal: 50 } })
    const held = await storage.lock('itsm', 'writer', 'exclusive', lockRequest())
    const writer = await (await storage.begin(`itsm/${id}`)).create('part')
    await writeState(place, 5000, [])
    const writing = async () => {
      for (;;) {
        await writer.write(Buffer.from('more'))
        await new Promise(resolve => setTimeout(resolve, 20))
      }
    }
    await expect(writing()).rejects.toMatchObject({ code: 'lease_lost' })
    await held.release()
  })

  test('that cannot be renewed for too long stops the next write, before anybody else may take it', async () => {
    const proxy = await faultProxy(server.endpoint)
    const place = await server.newPlace({ endpoint: proxy.endpoint })
    const retries = { attemptsUntilReached: 1, attempts: 1, base: 1, longest: 1, total: 1000 }
    const storage = await S3Storage.open(place, { leases: { lease: 4000, renewal: 100 }, retries })
    const told: string[] = []
    const onWait = (message: string) => void told.push(message)
    const held = await storage.lock('itsm', 'writer', 'exclusive', lockRequest({ onWait }))
    const writer = await (await storage.begin(`itsm/${id}`)).create('part')
    proxy.rule = () => 'reset'
    const began = performance.now()
    const writing = async () => {
      for (;;) {
        await writer.write(Buffer.from('more'))
        await new Promise(resolve => setTimeout(resolve, 20))
      }
    }
    await expect(writing()).rejects.toMatchObject({ code: 'connection_lost' })
    expect(performance.now() - began).toBeLessThan(4000)
    await held.release()
    expect(told).toEqual([expect.stringContaining('its lease could not be given back')])
  })

  test('by one who slept between reading and writing is not believed', async () => {
    const proxy = await faultProxy(server.endpoint)
    const place = await server.newPlace({ endpoint: proxy.endpoint })
    await writeState(place, 1, [])
    // While our request for number 2 is on its way, the row has gone on to 40, and 2 was removed long ago.
    let slept = false
    proxy.rule = async (_, what) => {
      if (what.startsWith('PUT') && !slept) await writeState(place, 40, [holder({ purpose: 'prune itsm' })])
      slept ||= what.startsWith('PUT')
      return undefined
    }
    const storage = await S3Storage.open(place)
    await expect(storage.lock('itsm', 'writer', 'exclusive', lockRequest())).rejects.toMatchObject({
      kind: 'locked',
      message: expect.stringContaining('prune itsm'),
    })
    expect(slept).toBe(true)
  })

  test('is refused as soon as the server forgets conditions, and what was written for it is removed', async () => {
    const proxy = await faultProxy(server.endpoint)
    const place = await server.newPlace({ endpoint: proxy.endpoint })
    const storage = await S3Storage.open(place)
    await (await storage.lock('itsm', 'writer', 'exclusive', lockRequest())).release()
    const before = await storage.list('locks/itsm')
    proxy.rule = (_, what) => (what.startsWith('PUT') ? 'unconditional' : undefined)
    for (const each of [storage, await S3Storage.open(place)]) {
      const locking = each.lock('itsm', 'writer', 'exclusive', lockRequest())
      await expect(locking).rejects.toMatchObject({ code: 'conditional_write_missing' })
    }
    expect(await storage.list('locks/itsm')).toEqual(before)
  })

  test('is not ours when what we wrote was replaced', async () => {
    const proxy = await faultProxy(server.endpoint)
    const place = await server.newPlace({ endpoint: proxy.endpoint })
    const storage = await S3Storage.open(place)
    const other = holder({ purpose: 'prune itsm' })
    let replaced = false
    // Between our write and our look at it somebody replaces it, on a server that says it kept the condition.
    proxy.rule = async (_, what) => {
      const isRead = what.startsWith('GET') && what.includes(leaseName(1))
      if (isRead && !replaced) await writeState(place, 1, [other])
      replaced ||= isRead
      return undefined
    }
    await expect(storage.lock('itsm', 'writer', 'exclusive', lockRequest())).rejects.toMatchObject({
      kind: 'locked',
      message: expect.stringContaining('prune itsm'),
    })
    expect(replaced).toBe(true)
  })
})

/** Puts an object into the row that no run of this program has written. */
async function plant({ bucket, prefix }: S3Settings, name: string, Body: string | Buffer): Promise<void> {
  await server.client.send(new PutObjectCommand({ Bucket: bucket, Key: `${prefix}/locks/itsm/${name}`, Body }))
}

describe('a row of leases with something of a stranger in it', () => {
  const future = '2099-01-01T00:00:00.000Z'
  const blocking = (change: Partial<Holder>) => formatLease([holder({ lock: 'delete', ...change })])
  test.each<[string, string, string | Buffer]>([
    ['garbage', leaseName(3), '{"format":1}'],
    ['bytes', leaseName(3), Buffer.from([0, 255, 7])],
    ['nothing', leaseName(3), ''],
    ['too much', leaseName(3), Buffer.alloc(300_000, 32)],
    ['a lease renewed in 2099', leaseName(3), blocking({ since: future, renewed: future })],
    ['a number beyond safe integers', '9999999999999999', blocking({})],
    ['the largest safe integer', String(Number.MAX_SAFE_INTEGER), blocking({})],
    ['a name that is no number', 'lease', blocking({})],
  ])('%s keeps nobody out', async (_, name, content) => {
    const place = await server.newPlace()
    await plant({ ...place }, leaseName(1), formatLease([]))
    await plant(place, name, content)
    const told: string[] = []
    const storage = await S3Storage.open(place)
    const onWait = (message: string) => void told.push(message)
    const writer = await storage.lock('itsm', 'writer', 'exclusive', lockRequest({ onWait }))
    const reader = await storage.lock('itsm', 'delete', 'shared', lockRequest({ onWait }))
    expect([writer.unlocked, reader.unlocked]).toEqual([false, false])
    await expect(
      (await S3Storage.open(place)).lock('itsm', 'writer', 'exclusive', lockRequest()),
    ).rejects.toMatchObject({ kind: 'locked' })
    await reader.release()
    await writer.release()
    await (await (await S3Storage.open(place)).lock('itsm', 'writer', 'exclusive', lockRequest())).release()
  })

  test.each<[string, string, string | Buffer, string]>([
    ['of a later format', leaseName(3), '{"format":2,"holders":[]}', 'lease_newer'],
    ['with the last number there is', leaseName(2 ** 52), formatLease([]), 'lease_numbers_spent'],
  ])('%s stops writers in plain words, and readers go on without a lock', async (_, name, content, code) => {
    const place = await server.newPlace()
    await plant(place, name, content)
    const other = { Bucket: place.bucket, Key: `${place.prefix}/itsm/source.json`, Body: '{}' }
    await server.client.send(new PutObjectCommand(other))
    const storage = await S3Storage.open(place)
    await expect(storage.lock('itsm', 'writer', 'exclusive', lockRequest())).rejects.toMatchObject({
      code,
      hint: expect.any(String),
    })
    const reader = await storage.lock('itsm', 'delete', 'shared', lockRequest())
    expect(reader).toMatchObject({ unlocked: true, fault: expect.objectContaining({ code }) })
    expect(storage.writable).toBe(true)
    await reader.release()
  })
})

describe('a state of leases', () => {
  test('is read as it was written, and anything else is damage', () => {
    const holders = [holder(), holder({ lock: 'delete', mode: 'shared', machine: null })]
    expect(parseLease(formatLease(holders), 'here')).toEqual(holders)
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array(), fc.json().map(Buffer.from)), bytes => {
        try {
          parseLease(bytes, 'here')
        } catch (error) {
          const { code } = error as { code: string }
          expect(['lease_damaged', 'lease_newer']).toContain(code)
        }
      }),
    )
  })

  test('has a name that sorts as its number', () => {
    fc.assert(
      fc.property(fc.nat(2 ** 31 - 1), fc.nat(2 ** 31 - 1), (a, b) => {
        expect(leaseNumber(leaseName(a))).toBe(a)
        expect(leaseName(a) < leaseName(b)).toBe(a < b)
      }),
    )
    expect(leaseNumber(leaseName(2 ** 52))).toBe(2 ** 52)
    for (const name of ['7', leaseName(2 ** 52 + 1), '9999999999999999']) expect(leaseNumber(name)).toBeUndefined()
  })

  test('tells when the lease of somebody on another machine ends, should he have died', () => {
    const since = '2025-11-03T03:00:00.000Z'
    const here = { machine: 'ours', serverNow: new Date('2025-11-03T03:00:13.000Z'), leaseMs: 300_000 }
    const who = 'create itsm (user root, process 4711 on db2, since 2025-11-03T03:00:00Z'
    const foreign = [holder({ since, renewed: since }), holder({ since, renewed: since, machine: null })]
    for (const one of foreign) {
      expect(describeLeases([one], here)).toBe(`${who}, unless renewed until 2025-11-03T03:05:00Z, in 287 seconds)`)
    }
    expect(describeLeases([holder({ since, machine: 'ours' })], here)).toBe(`${who})`)
  })

  test('names its holders without letting them speak to the terminal', () => {
    const here = { machine: 'ours', serverNow: new Date(), leaseMs: 300_000 }
    expect(describeLeases([], here)).toBe('another run')
    expect(describeLeases([holder({ host: 'a\u001b[2J' })], here)).toContain('on "a\\u001b[2J"')
    expect(
      describeLeases(
        Array.from({ length: 5 }, () => holder()),
        here,
      ),
    ).toMatch(/ and 2 more$/)
    expect(isExpired(holder(), new Date(Date.now() + 300_001), 300_000)).toBe(true)
  })
})
