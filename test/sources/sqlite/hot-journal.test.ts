import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { bytesOf, capture } from './capturing.js'
import { sqlProcess } from './sql-process.js'

/** A writer that was killed in the middle of a transaction which had reached the file already. */
async function crashed({ attach = false } = {}): Promise<string> {
  const path = join(temporaryDirectory(), 'a.db')
  const application = await sqlProcess(path)
  await application.run(
    'PRAGMA page_size=1024;;PRAGMA journal_mode=DELETE;;CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)',
  )
  await application.run(
    'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) INSERT INTO t SELECT i, zeroblob(800) FROM n',
  )
  await application.run('PRAGMA cache_size=10;;PRAGMA cache_spill=1;;BEGIN')
  const before = readFileSync(path)
  await application.run('UPDATE t SET b = randomblob(800)')
  await application.kill()
  expect(statSync(`${path}-journal`).size).toBeGreaterThan(1024)
  expect(readFileSync(path).equals(before)).toBe(false)
  if (attach) appendSuperJournal(`${path}-journal`, `${path}-mj0123`)
  return path
}

/** What SQLite writes at the end of a journal of a transaction over several databases (pager.c, writeSuperJournal). */
function appendSuperJournal(journal: string, name: string): void {
  const bytes = Buffer.from(name)
  const tail = Buffer.alloc(16)
  tail.writeUInt32BE(bytes.length, 0)
  tail.writeUInt32BE(
    bytes.reduce((sum, byte) => sum + byte, 0),
    4,
  )
  Buffer.from('d9d505f920a163d7', 'hex').copy(tail, 8)
  const page = Buffer.alloc(4)
  page.writeUInt32BE(2 ** 30 / 1024 + 1)
  writeFileSync(journal, Buffer.concat([readFileSync(journal), page, bytes, tail]))
  writeFileSync(name, `${journal}\0`)
}

function rowsOf(bytes: Buffer): unknown {
  const path = join(temporaryDirectory(), 'read.db')
  writeFileSync(path, bytes)
  const database = new Database(path)
  expect(database.pragma('integrity_check', { simple: true })).toBe('ok')
  const rows = database.prepare('SELECT count(*), sum(b = zeroblob(800)) FROM t').raw().get()
  database.close()
  return rows
}

describe('a database with a journal left from a crash', () => {
  test('is captured as it was before the unfinished transaction, and is not touched', async () => {
    const path = await crashed()
    const files = [path, `${path}-journal`]
    const before = files.map(name => [readFileSync(name).toString('base64'), statSync(name).mtimeMs])
    const captured = await capture(path)
    expect(await captured.check('integrity', ['SELECT count(*) FROM t'])).toMatchObject([
      { status: 'ok' },
      { status: 'ok', detail: '[["300"]]' },
    ])
    expect(rowsOf(bytesOf(captured))).toEqual([300, 300])
    await captured.confirm()
    await captured.close()
    expect(files.map(name => [readFileSync(name).toString('base64'), statSync(name).mtimeMs])).toEqual(before)
    expect(existsSync(`${path}-wal`)).toBe(false)
  })

  test('is what SQLite itself makes of it', async () => {
    const path = await crashed()
    const captured = await capture(path)
    const bytes = bytesOf(captured)
    await captured.close()
    const copy = join(temporaryDirectory(), 'copy.db')
    for (const suffix of ['', '-journal']) copyFileSync(path + suffix, copy + suffix)
    const database = new Database(copy)
    database.prepare('SELECT count(*) FROM t').get()
    database.close()
    expect(bytes.equals(readFileSync(copy))).toBe(true)
  })

  test('is refused when the transaction spanned several databases', async () => {
    const path = await crashed({ attach: true })
    await expect(capture(path)).rejects.toMatchObject({
      code: 'hot_journal',
      message: expect.stringContaining('several databases'),
      hint: expect.stringContaining('start and stop the application once'),
    })
  })

  test.skipIf(process.geteuid?.() === 0)(
    'is refused when the journal cannot be read (root reads all: skipped)',
    async () => {
      const path = await crashed()
      chmodSync(`${path}-journal`, 0)
      await expect(capture(path)).rejects.toMatchObject({ kind: 'failed' })
      chmodSync(`${path}-journal`, 0o600)
    },
  )

  test('is refused when the journal is no file', async () => {
    const path = await crashed()
    rmSync(`${path}-journal`)
    mkdirSync(`${path}-journal`)
    await expect(capture(path)).rejects.toMatchObject({ name: 'NexusError' })
  })

  test('may be tried again after it has been refused', async () => {
    const path = await crashed({ attach: true })
    await expect(capture(path)).rejects.toThrow()
    const application = await sqlProcess(path)
    expect(await application.run('SELECT count(*) FROM t')).toEqual([[300]])
    await application.close()
    const captured = await capture(path)
    expect(rowsOf(bytesOf(captured))).toEqual([300, 300])
  })
})

test.skipIf(process.geteuid?.() !== 0)('root leaves a crashed database with its owner', async () => {
  const path = await crashed()
  for (const name of [path, `${path}-journal`]) chownSync(name, 65534, 65534)
  const captured = await capture(path)
  await captured.close()
  expect([path, `${path}-journal`].map(name => statSync(name).uid)).toEqual([65534, 65534])
})
