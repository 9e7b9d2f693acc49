import { copyFileSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { frameChecksum, indexWal, readWalHeader, type WalChecksum } from '../../../src/sources/sqlite/wal.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { sqlProcess } from './sql-process.js'
import { buildWal, endOf, type Frame, framesOf } from './wal-builder.js'

const quiet = new AbortController().signal

function opened(bytes: Buffer): number {
  const path = join(temporaryDirectory(), 'log')
  writeFileSync(path, bytes)
  return openSync(path, 'r')
}

async function index(wal: Buffer, to: number, end: WalChecksum = endOf(wal)) {
  const fd = opened(wal)
  const header = await readWalHeader(fd)
  if (header === null) throw new Error('no header')
  return indexWal(fd, header, { from: 0, start: header.checksum, to, end }, quiet)
}

/** A database with a log that a killed process left. */
async function crashedDatabase(pageSize = 4096): Promise<string> {
  const path = join(temporaryDirectory(), 'a.db')
  const application = await sqlProcess(path)
  await application.run(`PRAGMA page_size=${pageSize};;PRAGMA journal_mode=WAL;;PRAGMA wal_autocheckpoint=0`)
  await application.run('CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)')
  for (let n = 0; n < 5; n += 1) await application.run('INSERT INTO t (b) VALUES (randomblob(9000)), (randomblob(10))')
  await application.run('UPDATE t SET b = randomblob(12000) WHERE id < 4')
  await application.kill()
  return path
}

const someFrames = fc.array(
  fc.record({ page: fc.integer({ min: 1, max: 9 }), byte: fc.integer({ min: 0, max: 255 }) }),
  {
    minLength: 1,
    maxLength: 30,
  },
)

function framesFrom(list: { page: number; byte: number }[], pageSize: number): Frame[] {
  return list.map(({ page, byte }, at) => {
    return { page, commit: at === list.length - 1 ? 9 : 0, content: Buffer.alloc(pageSize, byte) }
  })
}

describe('readWalHeader', () => {
  test.each([512, 4096, 65536])('reads the log that SQLite wrote with pages of %d bytes', async pageSize => {
    const path = await crashedDatabase(pageSize)
    const header = await readWalHeader(openSync(`${path}-wal`, 'r'))
    expect(header?.pageSize).toBe(pageSize)
    expect(header?.salts).toBe(readFileSync(`${path}-wal`).toString('hex', 16, 24))
  })

  const broken: [string, (wal: Buffer) => Buffer][] = [
    ['an empty file', (wal: Buffer) => wal.subarray(0, 0)],
    ['a file cut within its header', (wal: Buffer) => wal.subarray(0, 31)],
    ['zeros', (wal: Buffer) => Buffer.alloc(wal.length)],
    ...Array.from(
      { length: 32 },
      (_, at) => [`a header whose byte ${at} is flipped`, flipped(at)] as [string, (wal: Buffer) => Buffer],
    ),
  ]

  test.each(broken)('takes %s for no log', async (_, change) => {
    const wal = buildWal([{ page: 1, commit: 1, content: Buffer.alloc(512) }], { pageSize: 512 })
    expect(await readWalHeader(opened(change(wal)))).toBeNull()
  })
})

function flipped(at: number) {
  return (wal: Buffer) => {
    const copy = Buffer.from(wal)
    copy.writeUInt8(copy.readUInt8(at) ^ 0x10, at)
    return copy
  }
}

describe('indexWal', () => {
  test('finds the newest frame of each page in the log that SQLite wrote', async () => {
    const wal = readFileSync(`${await crashedDatabase()}-wal`)
    const frames = framesOf(wal)
    const newest = new Map(frames.map(({ page }, at) => [page, at + 1]))
    const found = await index(wal, frames.length)
    expect(Array.from(found?.pages ?? [])).toEqual([...newest.keys()].sort((a, b) => a - b))
    expect(Array.from(found?.pages ?? [], (page, at) => [page, found?.frames[at]])).toEqual(
      [...newest].sort(([a], [b]) => a - b),
    )
  })

  test('reads a log of the other byte order just as SQLite does', async () => {
    const path = await crashedDatabase()
    const real = readFileSync(`${path}-wal`)
    for (const bigEndian of [false, true]) {
      const wal = buildWal(framesOf(real), { pageSize: 4096, bigEndian, salts: [77, 88] })
      expect((await index(wal, framesOf(wal).length))?.pages.length).toBeGreaterThan(3)
      const copy = join(temporaryDirectory(), 'copy.db')
      copyFileSync(path, copy)
      writeFileSync(`${copy}-wal`, wal)
      const database = new Database(copy)
      expect(database.prepare('SELECT count(*) FROM t').pluck().get()).toBe(10)
      database.close()
    }
  })

  test.each([false, true])('agrees with the plain meaning of any log (big-endian: %s)', async bigEndian => {
    await fc.assert(
      fc.asyncProperty(someFrames, async list => {
        const frames = framesFrom(list, 512)
        const newest = new Map(frames.map(({ page }, at) => [page, at + 1]))
        const found = await index(buildWal(frames, { pageSize: 512, bigEndian }), frames.length)
        expect(new Map(Array.from(found?.pages ?? [], (page, at) => [page, found?.frames[at] ?? 0]))).toEqual(newest)
        expect(found?.smallest).toBe(9)
      }),
      { numRuns: 60 },
    )
  })

  test('tells frames apart on pages of any number: a terabyte has more pages than a double has bits to spare', async () => {
    const pages = [2 ** 21, 2 ** 21 + 1, 2 ** 22, 2 ** 28, 2 ** 31, 2 ** 32 - 2]
    const list = [...pages, ...pages, ...pages].map(page => ({
      page,
      commit: 2 ** 32 - 2,
      content: Buffer.alloc(512, 1),
    }))
    const found = await index(buildWal(list, { pageSize: 512 }), list.length)
    expect(Array.from(found?.pages ?? [])).toEqual(pages)
    expect(Array.from(found?.frames ?? [])).toEqual(pages.map((_, at) => 2 * pages.length + at + 1))
  })

  test('tells the smallest database that any commit of the range left', async () => {
    const sizes = [50, 0, 20, 0, 0, 80]
    const frames = sizes.map(commit => ({ page: 1, commit, content: Buffer.alloc(512) }))
    expect((await index(buildWal(frames, { pageSize: 512 }), 6))?.smallest).toBe(20)
  })

  test('refuses frames that are left from before the log was started over', async () => {
    const content = Buffer.alloc(512, 7)
    const old = buildWal(
      Array.from({ length: 5 }, () => ({ page: 1, commit: 1, content })),
      { pageSize: 512, salts: [1, 2] },
    )
    const fresh = buildWal([{ page: 2, commit: 2, content }], { pageSize: 512, salts: [2, 99] })
    const mixed = Buffer.from(old)
    fresh.copy(mixed)
    expect(await index(mixed, 1, endOf(fresh))).not.toBeNull()
    expect(await index(mixed, 2, endOf(old))).toBeNull()
  })

  test('refuses frames of equal salts that are not part of the chain, as a crash leaves them', async () => {
    const frame = (byte: number) => ({ page: 1, commit: 1, content: Buffer.alloc(512, byte) })
    const old = buildWal([1, 2, 3, 4].map(frame), { pageSize: 512 })
    const fresh = buildWal([1, 9].map(frame), { pageSize: 512 })
    const mixed = Buffer.from(old)
    fresh.copy(mixed)
    expect(await index(mixed, 2, endOf(fresh))).not.toBeNull()
    expect(await index(mixed, 4, endOf(old))).toBeNull()
  })

  test('refuses a log that ends within the range, and one whose last frame is another than it must be', async () => {
    const wal = buildWal(
      framesFrom(
        [1, 2, 3].map(page => ({ page, byte: page })),
        512,
      ),
      { pageSize: 512 },
    )
    expect(await index(wal.subarray(0, -1), 3, endOf(wal))).toBeNull()
    expect(await index(wal, 3, [1, 1])).toBeNull()
    expect(await index(wal, 2)).toBeNull()
  })

  test('notices any flipped byte of any frame', async () => {
    const wal = buildWal(
      framesFrom(
        [1, 2].map(page => ({ page, byte: page })),
        512,
      ),
      { pageSize: 512 },
    )
    for (let at = 32; at < wal.length; at += 1) expect(await index(flipped(at)(wal), 2, endOf(wal))).toBeNull()
  })

  test('goes on from a frame in the middle with the checksum that stands there', async () => {
    const wal = readFileSync(`${await crashedDatabase()}-wal`)
    const fd = opened(wal)
    const header = await readWalHeader(fd)
    if (header === null) throw new Error('no header')
    const frames = framesOf(wal)
    const start = await frameChecksum(fd, header, 4)
    if (start === null) throw new Error('no checksum')
    const found = await indexWal(fd, header, { from: 4, start, to: frames.length, end: endOf(wal) }, quiet)
    expect(new Set(found?.pages)).toEqual(new Set(frames.slice(4).map(({ page }) => page)))
    expect(Math.min(...(found?.frames ?? []))).toBeGreaterThan(4)
    expect(await frameChecksum(fd, header, 0)).toEqual(header.checksum)
    expect(await frameChecksum(fd, header, frames.length + 1)).toBeNull()
  })

  test('stops when it is told to', async () => {
    const wal = buildWal(framesFrom([{ page: 1, byte: 1 }], 512), { pageSize: 512 })
    const fd = opened(wal)
    const header = await readWalHeader(fd)
    if (header === null) throw new Error('no header')
    const range = { from: 0, start: header.checksum, to: 1, end: endOf(wal) }
    await expect(indexWal(fd, header, range, AbortSignal.abort())).rejects.toThrow()
  })
})
