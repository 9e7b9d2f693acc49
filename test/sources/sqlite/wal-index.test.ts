import { openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readWalIndexHeader } from '../../../src/sources/sqlite/wal-index.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { sqlProcess } from './sql-process.js'
import { endOf, framesOf } from './wal-builder.js'

async function application() {
  const path = join(temporaryDirectory(), 'a.db')
  const process = await sqlProcess(path)
  await process.run('PRAGMA journal_mode=WAL;;PRAGMA wal_autocheckpoint=0;;CREATE TABLE t (b)')
  return { path, run: process.run }
}

describe('readWalIndexHeader', () => {
  test('tells the last frame, its checksum and the salts as the log has them', async () => {
    const { path, run } = await application()
    await run('INSERT INTO t VALUES (randomblob(20000))')
    const header = readWalIndexHeader(openSync(`${path}-shm`, 'r'))
    const wal = readFileSync(`${path}-wal`)
    expect(header?.frame).toBe(framesOf(wal).length)
    expect(header?.checksum).toEqual(endOf(wal))
    expect(header?.salts).toBe(wal.toString('hex', 16, 24))
    expect(header?.backfilled).toBe(0)
  })

  test('tells how much of the log is in the database file already', async () => {
    const { path, run } = await application()
    await run('PRAGMA wal_checkpoint(PASSIVE)')
    const header = readWalIndexHeader(openSync(`${path}-shm`, 'r'))
    expect(header?.frame).toBeGreaterThan(0)
    expect(header?.backfilled).toBe(header?.frame)
  })

  test('shows every commit and no reading', async () => {
    const { path, run } = await application()
    const shm = openSync(`${path}-shm`, 'r')
    const first = readWalIndexHeader(shm)
    await run('SELECT count(*) FROM t')
    expect(readWalIndexHeader(shm)?.raw).toEqual(first?.raw)
    await run('INSERT INTO t VALUES (1)')
    expect(readWalIndexHeader(shm)?.raw).not.toEqual(first?.raw)
  })

  test('is null while the two copies differ, and for a file that is too short', () => {
    const path = join(temporaryDirectory(), 'shm')
    const bytes = Buffer.alloc(136)
    bytes[3] = 1
    writeFileSync(path, bytes)
    expect(readWalIndexHeader(openSync(path, 'r'))).toBeNull()
    writeFileSync(path, Buffer.alloc(99))
    expect(readWalIndexHeader(openSync(path, 'r'))).toBeNull()
  })
})
