import { randomBytes } from 'node:crypto'
import { ListMultipartUploadsCommand, ListObjectsV2Command } from '@aws-sdk/client-s3'
import { describe, expect, test } from 'vitest'
import { NexusError } from '../../../src/errors.js'
import { S3Storage } from '../../../src/repository/storage/s3/s3.js'
import type { S3Settings } from '../../../src/repository/storage/s3/settings.js'
import type { Storage } from '../../../src/repository/storage/storage.js'
import { type Fault, type FaultProxy, faultProxy } from '../../helpers/fault-proxy.js'
import { lockRequest } from '../../helpers/lock-request.js'
import { startS3 } from '../../helpers/s3-server.js'

const server = await startS3()
const id = '20251103T030000.123Z-full-7f3a'
const small = randomBytes(100_000)
const large = randomBytes(9_500_000)
const manifest = Buffer.from('{"a":"manifest"}')
const retries = { attemptsUntilReached: 4, attempts: 4, base: 5, longest: 50, total: 60_000 }

/** A store behind a proxy. Patience is short only where somebody stalls: a busy machine must not look like it. */
async function newPlace(
  fault?: Fault,
  attempts = 8,
): Promise<{ proxy: FaultProxy; settings: S3Settings; open: () => Promise<Storage> }> {
  const proxy = await faultProxy(server.endpoint)
  const timeout = fault?.startsWith('stall') ? 1500 : 30_000
  const settings = await server.newPlace({ endpoint: proxy.endpoint, timeout })
  return { proxy, settings, open: () => S3Storage.open(settings, { retries: { ...retries, attempts } }) }
}

/** What a run does: locks, cleans, writes, commits, reads back. */
async function backUp(storage: Storage): Promise<void> {
  const lock = await storage.lock('itsm', 'writer', 'exclusive', lockRequest())
  try {
    await storage.removeLeftovers('itsm')
    const pending = await storage.begin(`itsm/${id}`)
    try {
      for (const [name, bytes] of Object.entries({ small, large, 'manifest.json': manifest })) {
        const writer = await pending.create(name)
        await writer.write(bytes)
        await writer.close()
      }
      await pending.commit()
    } catch (error) {
      await pending.discard()
      throw error
    }
    await expectWhole(storage)
  } finally {
    await lock.release()
  }
}

async function expectWhole(storage: Storage): Promise<void> {
  for (const [name, bytes] of Object.entries({ small, large, 'manifest.json': manifest })) {
    const reader = await storage.openRead(`itsm/${id}/${name}`)
    try {
      expect(reader.size, name).toBe(bytes.byteLength)
      expect((await reader.read(reader.size)).equals(bytes), name).toBe(true)
    } finally {
      await reader.close()
    }
  }
  expect((await storage.readSmall(`itsm/${id}/manifest.json`, 100)).equals(manifest)).toBe(true)
}

/** Everything in the bucket, and unfinished uploads: asked without the proxy. */
async function held({ bucket }: S3Settings): Promise<{ names: string[]; uploads: number }> {
  const { Contents = [] } = await server.client.send(new ListObjectsV2Command({ Bucket: bucket }))
  const { Uploads = [] } = await server.client.send(new ListMultipartUploadsCommand({ Bucket: bucket }))
  const names = Contents.map(({ Key = '' }) => Key.replace('backups/db1/', ''))
  return { names: names.filter(name => !name.startsWith('locks/')).sort(), uploads: Uploads.length }
}

const whole = [`itsm/${id}/large`, `itsm/${id}/manifest.json`, `itsm/${id}/small`]

describe('a fault in passing', () => {
  const passing: Fault[] = [
    'reset',
    'reset in body',
    'answer lost',
    'reset in answer',
    'answer cut',
    '500',
    '503 SlowDown',
    'stall',
    'stall in answer',
  ]
  test.each(passing)('%s, again and again, whichever request it meets: nothing is lost or left', async fault => {
    const every = fault.startsWith('stall') ? 8 : 3
    for (const first of every === 8 ? [1] : [0, 1, 2]) {
      const place = await newPlace(fault)
      // Never two in a row, whatever is tried again.
      place.proxy.rule = number => (number % every === first ? fault : undefined)
      await backUp(await place.open())
      expect(await held(place.settings)).toEqual({ names: whole, uploads: 0 })
    }
  })
})

describe('a fault that stays', () => {
  const staying: [Fault, string][] = [
    ['reset', 'connection_lost'],
    ['500', 'server_error'],
    ['503 SlowDown', 'server_busy'],
    ['403', 'access_denied'],
    ['stall', 'timed_out'],
  ]
  test.each(
    staying,
  )('%s from any moment on ends with %s; nothing is committed, and the next run cleans up', async (fault, code) => {
    const { proxy: quiet, open: openQuiet } = await newPlace()
    await backUp(await openQuiet())
    const requests = quiet.seen.length
    // A few moments of all, others in each run of the suite.
    const count = fault === 'stall' ? 2 : 4
    const moments = Array.from(
      { length: count },
      (_, part) => 1 + Math.floor(((part + Math.random()) / count) * (requests - 1)),
    )
    for (const moment of moments) {
      const place = await newPlace(fault, 2)
      place.proxy.rule = number => (number >= moment ? fault : undefined)
      const error = await backUp(await place.open()).catch((reason: unknown) => reason)
      const at = `${fault} from request ${moment} of ${requests}: ${quiet.seen[moment - 1]}`
      if (error !== undefined) {
        expect(error, at).toBeInstanceOf(NexusError)
        expect(error, at).toMatchObject({ kind: 'failed', code, hint: expect.any(String) })
      }
      place.proxy.rule = () => undefined
      const storage = await place.open()
      const shown = (await storage.list('itsm')).map(({ name }) => name).filter(name => !name.startsWith('.partial-'))
      if (shown.length > 0) await expectWhole(storage)
      await storage.removeLeftovers('itsm')
      expect(await held(place.settings), at).toEqual({ names: shown.length > 0 ? whole : [], uploads: 0 })
    }
  })

  test.each([
    'answer cut',
    'reset in answer',
    'stall in answer',
  ] as Fault[])('%s: reading ends with an error, never with fewer bytes', async fault => {
    const place = await newPlace(fault)
    const storage = await place.open()
    await backUp(storage)
    place.proxy.rule = (_, what) => (what.startsWith('GET') ? fault : undefined)
    const small = storage.readSmall(`itsm/${id}/manifest.json`, 100)
    await expect(small).rejects.toMatchObject({ kind: 'failed', hint: expect.any(String) })
  })
})

test('a server that cannot write conditionally is refused in plain words', async () => {
  const place = await newPlace()
  place.proxy.rule = (_, what) => (what.startsWith('PUT') ? '501' : undefined)
  const refused = { kind: 'failed', code: 'conditional_write_missing' }
  const locking = (await place.open()).lock('itsm', 'writer', 'exclusive', lockRequest())
  await expect(locking).rejects.toMatchObject(refused)
})

test('a server that lets conditions pass unheard is found out before anything is written', async () => {
  const place = await newPlace()
  place.proxy.rule = () => 'unconditional'
  const locking = (await place.open()).lock('itsm', 'writer', 'exclusive', lockRequest())
  await expect(locking).rejects.toMatchObject({ kind: 'failed', code: 'conditional_write_missing' })
})

test('a store that only lets itself be read is read without a lock', async () => {
  const place = await newPlace()
  await backUp(await place.open())
  place.proxy.rule = (_, what) => (what.startsWith('GET') ? undefined : '403')
  const storage = await place.open()
  const lock = await storage.lock('itsm', 'delete', 'shared', lockRequest())
  expect([lock.unlocked, storage.writable]).toEqual([true, false])
  await lock.release()
  await expectWhole(storage)
})

test('credentials that may not delete can still back up; markers and leases stay', async () => {
  const place = await newPlace()
  place.proxy.rule = (_, what) => (what.startsWith('DELETE') ? '403' : undefined)
  await backUp(await place.open())
  const storage = await place.open()
  expect((await storage.list('itsm')).map(({ name }) => name)).toEqual([id])
  expect(await storage.removeLeftovers('itsm')).toEqual([])
  expect((await storage.list('itsm')).map(({ name }) => name)).toEqual([id])
})

test.each([
  ['http://127.0.0.1:1', 'connection_refused'],
  ['http://no-such-host.invalid', 'name_unknown'],
])('%s: %s, in seconds', async (endpoint, code) => {
  const storage = await S3Storage.open(await server.newPlace({ endpoint }), { retries })
  await expect(storage.list('')).rejects.toMatchObject({ kind: 'failed', code, hint: expect.any(String) })
})

test('no such bucket, a wrong key and a wrong secret have sentences of their own', async () => {
  const settings = await server.newPlace()
  const nowhere = await S3Storage.open({ ...settings, bucket: 'never-was' })
  await expect(nowhere.list('')).rejects.toMatchObject({ code: 'bucket_missing' })
  const { AWS_ACCESS_KEY_ID: key = '', AWS_SECRET_ACCESS_KEY: secret = '' } = process.env
  try {
    process.env.AWS_ACCESS_KEY_ID = 'NOBODY'
    await expect((await S3Storage.open(settings)).list('')).rejects.toMatchObject({ code: 'credentials_refused' })
    process.env.AWS_ACCESS_KEY_ID = key
    process.env.AWS_SECRET_ACCESS_KEY = 'wrong'
    await expect((await S3Storage.open(settings)).list('')).rejects.toMatchObject({ code: 'credentials_refused' })
  } finally {
    Object.assign(process.env, { AWS_ACCESS_KEY_ID: key, AWS_SECRET_ACCESS_KEY: secret })
  }
})
