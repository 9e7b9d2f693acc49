import { HeadObjectCommand } from '@aws-sdk/client-s3'
import { describe, expect, test } from 'vitest'
import { checkRootFiles } from '../../../src/repository/root-files.js'
import { writeRoot } from '../../../src/repository/root-making.js'
import { renewRecovery } from '../../../src/repository/root-renewal.js'
import { S3Storage } from '../../../src/repository/storage/s3/s3.js'
import { walArchive } from '../../../src/repository/wal/wal-archive.js'
import { conditionalProxy } from '../../helpers/conditional-proxy.js'
import { startS3 } from '../../helpers/s3-server.js'
import { segmentContent, system, name as walName } from '../../operations/wal-shelf.js'

const server = await startS3()
const DAY_MS = 24 * 3600 * 1000

interface LockPlace {
  /** What goes through the proxy, as it came. */
  seen: string[]
  open(days: number | undefined, mode?: 'GOVERNANCE' | 'COMPLIANCE'): Promise<S3Storage>
  /** For how many days an object is still locked, rounded; 0 when it is not. */
  daysOf(name: string): Promise<number>
}

async function lockPlace(): Promise<LockPlace> {
  const settings = await server.newPlace({}, { objectLock: true })
  const { endpoint, seen } = await conditionalProxy(server, settings)
  return {
    seen,
    async open(days, mode = 'GOVERNANCE') {
      const objectLock = days === undefined ? {} : { objectLock: { mode, days } }
      const storage = await S3Storage.open({ ...settings, endpoint, ...objectLock })
      // Whoever opens a repository reads first; the answer tells the server's time.
      await storage.list('')
      return storage
    },
    async daysOf(name) {
      const Key = `${settings.prefix}/${name}`
      const { ObjectLockRetainUntilDate: until } = await server.client.send(
        new HeadObjectCommand({ Bucket: settings.bucket, Key }),
      )
      return until === undefined ? 0 : Math.round((until.getTime() - Date.now()) / DAY_MS)
    },
  }
}

const fileNames = Array.from({ length: 40 }, (_, at) => `db/wal/${system}/00000001/${String(at).padStart(24, '0')}.zst`)

async function write(storage: S3Storage, names: readonly string[]): Promise<void> {
  for (const name of names) await storage.writeOnce(name, Buffer.from(name))
}

describe('locks of single files', () => {
  test('are extended, each once, when they end too early; a look at a few tells that nothing is to be done', async () => {
    const { open, daysOf, seen } = await lockPlace()
    await write(await open(2), fileNames)
    const storage = await open(40)
    seen.length = 0
    expect(await storage.extendFileLocks([...fileNames, 'db/wal/gone.zst'])).toBe(40)
    expect(seen.filter(what => what.startsWith('PUT')).length).toBe(40)
    // Extended last, so that it tells whether all others were.
    expect(seen.findLast(what => what.startsWith('PUT'))).toContain(fileNames[0])
    for (const name of fileNames) expect(await daysOf(name), name).toBe(40)
    seen.length = 0
    expect(await storage.extendFileLocks(fileNames)).toBe(0)
    expect(seen.filter(what => what.startsWith('PUT'))).toEqual([])
    expect(seen.length).toBeLessThanOrEqual(9)
  })

  test('of which the last one alone ends too early, by whoever writes them, are noticed', async () => {
    const { open, daysOf } = await lockPlace()
    const storage = await open(40)
    await write(storage, fileNames.slice(0, -1))
    const last = fileNames.slice(-1)
    await write(await open(2), last)
    expect(await storage.extendFileLocks(fileNames)).toBe(40)
    expect(await daysOf(last[0] ?? '')).toBe(40)
  })

  test('go on where an extension was interrupted', async () => {
    const { open, daysOf } = await lockPlace()
    await write(await open(2), fileNames)
    // What a run that was killed leaves: all but the first are done.
    const storage = await open(40)
    expect(await storage.extendFileLocks(fileNames.slice(1))).toBe(39)
    expect(await storage.extendFileLocks(fileNames)).toBe(40)
    expect(await daysOf(fileNames[0] ?? '')).toBe(40)
  })

  test('that last longer already are no error: nobody can shorten them', async () => {
    const { open, daysOf } = await lockPlace()
    await write(await open(40, 'COMPLIANCE'), fileNames.slice(1, 2))
    const storage = await open(3, 'COMPLIANCE')
    await write(await open(1, 'COMPLIANCE'), fileNames.slice(0, 1))
    expect(await storage.extendFileLocks(fileNames.slice(0, 2))).toBe(2)
    expect([await daysOf(fileNames[0] ?? ''), await daysOf(fileNames[1] ?? '')]).toEqual([3, 40])
  })

  test('are looked up without a request for each young one; what is not locked has none', async () => {
    const { open, seen } = await lockPlace()
    const storage = await open(5)
    await write(storage, fileNames)
    seen.length = 0
    const found = await storage.filesLockedUntil([...fileNames, 'db/wal/gone.zst'])
    expect(found.map(until => Math.round(((until?.getTime() ?? Date.now()) - Date.now()) / DAY_MS))).toEqual([
      ...fileNames.map(() => 5),
      0,
    ])
    expect(seen.length).toBeLessThanOrEqual(3)
    const free = await open(undefined)
    expect(await free.filesLockedUntil(fileNames.slice(0, 1))).toEqual([undefined])
    expect([free.lockEnd(), await free.extendFileLocks(fileNames), await free.extendLocks(['db/x'])]).toEqual([
      undefined,
      0,
      0,
    ])
  })
})

test('the archive of a log extends its files in either form, and tells until when they are locked', async () => {
  const { open, daysOf } = await lockPlace()
  const put = walArchive(await open(2), 'db', system)
  const times = { closedAt: new Date(), now: new Date() }
  for (const number of [1, 2]) await put.put(walName(number), segmentContent(number), times)
  const archive = walArchive(await open(9), 'db', system)
  expect(await archive.extendLocks([walName(1), walName(2), walName(3)])).toBe(2)
  expect(await daysOf(`db/wal/${system}/00000001/${walName(1)}.zst`)).toBe(9)
  const locked = await archive.lockedUntil([walName(1), walName(2), walName(3)])
  expect([...locked.keys()]).toEqual([walName(1), walName(2)])
})

test('locked files in the root are renewed all the same: each gets a new version, locked as long', async () => {
  const { open, daysOf } = await lockPlace()
  const storage = await open(40, 'COMPLIANCE')
  await writeRoot(storage, new Date())
  await storage.replace('recover.mjs', Buffer.from('// edition 999999\n'))
  expect(await checkRootFiles(storage)).toMatchObject([{ part: 'recover.mjs' }])
  expect(await renewRecovery(storage, async () => null)).toBe(true)
  expect(await checkRootFiles(storage)).toEqual([])
  for (const name of ['recover.mjs', 'RECOVER.txt', 'SHA256SUMS']) expect(await daysOf(name), name).toBe(40)
})
