import {
  chmodSync,
  chownSync,
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { bytesOf, capture } from './capturing.js'
import { sqlProcess } from './sql-process.js'

const root = process.geteuid?.() === 0
const NOBODY = { uid: 65534, gid: 65534 }

function database(mode: string): string {
  const path = join(temporaryDirectory(), 'a.db')
  const made = new Database(path)
  made.pragma(`journal_mode = ${mode}`)
  made.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB); INSERT INTO t (b) VALUES (randomblob(50000)), ('x')")
  made.close()
  return path
}

function look(path: string) {
  const { mtimeMs, size, uid, gid, mode } = statSync(path)
  return { mtimeMs, size, uid, gid, mode, bytes: readFileSync(path).toString('base64') }
}

describe('captureSqlite', () => {
  test.each(['wal', 'delete', 'truncate', 'persist'])('reads a quiet database as its file is (%s)', async mode => {
    const path = database(mode)
    const before = look(path)
    const captured = await capture(path)
    const bytes = bytesOf(captured)
    await captured.confirm()
    await captured.close()
    expect(bytes.toString('base64')).toBe(before.bytes)
    expect(look(path)).toEqual(before)
  })

  test('changes neither the database nor its log while an application has it open', async () => {
    const path = database('wal')
    const application = await sqlProcess(path)
    await application.run('PRAGMA wal_autocheckpoint=0;;UPDATE t SET b = randomblob(40000)')
    const before = [look(path), look(`${path}-wal`)]
    const captured = await capture(path)
    bytesOf(captured)
    await captured.check('integrity', ['SELECT count(*) FROM t'])
    await captured.confirm()
    await captured.close()
    expect([look(path), look(`${path}-wal`)]).toEqual(before)
    expect(await application.run("INSERT INTO t (b) VALUES ('y')")).toBe(1)
  })

  test('leaves a log that holds commits to whoever opens the database next', async () => {
    const path = database('wal')
    const application = await sqlProcess(path)
    await application.run("PRAGMA wal_autocheckpoint=0;;INSERT INTO t (b) VALUES ('only in the log')")
    await application.kill()
    const before = [look(path), look(`${path}-wal`)]
    const captured = await capture(path)
    const bytes = bytesOf(captured)
    await captured.close()
    expect([look(path), look(`${path}-wal`)]).toEqual(before)
    const copy = join(temporaryDirectory(), 'copy.db')
    writeFileSync(copy, bytes)
    const restored = new Database(copy)
    expect(restored.prepare('SELECT count(*) FROM t').pluck().get()).toBe(3)
    restored.close()
  })

  test('keeps what it saw while others commit, checkpoint and vacuum', async () => {
    const path = database('wal')
    const application = await sqlProcess(path)
    await application.run('PRAGMA wal_autocheckpoint=0;;UPDATE t SET b = randomblob(60000) WHERE id = 1')
    const captured = await capture(path)
    const before = bytesOf(captured)
    await application.run('DELETE FROM t;;VACUUM')
    for (const kind of ['PASSIVE', 'PASSIVE']) await application.run(`PRAGMA wal_checkpoint(${kind})`)
    await application.run('INSERT INTO t (b) VALUES (randomblob(100000));;PRAGMA wal_checkpoint(PASSIVE)')
    expect(bytesOf(captured).equals(before)).toBe(true)
    await captured.confirm()
  })

  test('lets a writer go on in rollback mode as soon as the copy is made', async () => {
    const path = database('delete')
    const application = await sqlProcess(path, { timeout: 0 })
    const captured = await capture(path)
    const before = bytesOf(captured)
    expect(await application.run("INSERT INTO t (b) VALUES ('y')")).toBe(1)
    expect(bytesOf(captured).equals(before)).toBe(true)
    expect(await captured.changedSince({ facts: { ...captured.facts }, blocks: 1 })).toBeNull()
  })

  test('keeps the last page of a file that was cut within it, as SQLite reads it', async () => {
    const path = database('wal')
    const whole = readFileSync(path)
    writeFileSync(path, whole.subarray(0, -100))
    const captured = await capture(path)
    expect(bytesOf(captured).equals(Buffer.concat([whole.subarray(0, -100), Buffer.alloc(100)]))).toBe(true)
  })

  test('gives the instant of the pin, not of the end of reading', async () => {
    const path = database('delete')
    const before = Date.now()
    const captured = await capture(path)
    expect(captured.capturedAt.getTime()).toBeGreaterThanOrEqual(before)
    expect(captured.capturedAt.getTime()).toBeLessThanOrEqual(Date.now())
  })

  test('leaves no connection behind when it refuses', async () => {
    const path = database('wal')
    const bytes = readFileSync(path)
    writeFileSync(path, Buffer.concat([bytes.subarray(0, 100), Buffer.alloc(bytes.length - 100, 0xa5)]))
    await expect(capture(path)).rejects.toMatchObject({ code: 'source_damaged' })
    expect(readdirSync('/proc/self/fd').length).toBeLessThan(200)
    writeFileSync(path, bytes)
    expect(bytesOf(await capture(path)).equals(bytes)).toBe(true)
  })
})

describe('a database that was cut off', () => {
  test('fails a check of its length even where SQLite reads it without complaint and no integrity_check runs', async () => {
    const path = database('delete')
    truncateSync(path, statSync(path).size - 1000)
    const captured = await capture(path)
    const [check] = await captured.check('none', [])
    await captured.close()
    expect(check).toMatchObject({ name: 'file_size', status: 'failed' })
    expect(check?.detail).toContain('cut off')
  })

  test('is told from one whose last pages are still in its log', async () => {
    const path = database('wal')
    const application = await sqlProcess(path)
    await application.run('PRAGMA wal_autocheckpoint=0;;INSERT INTO t (b) VALUES (randomblob(200000))')
    const captured = await capture(path)
    expect(await captured.check('none', [])).toEqual([])
    await captured.close()
  })
})

describe.skipIf(!root)("root's capture of another user's database (needs root)", () => {
  function handedOver(mode: string): string {
    const path = database(mode)
    chownSync(dirname(path), NOBODY.uid, NOBODY.gid)
    chownSync(path, NOBODY.uid, NOBODY.gid)
    chmodSync(path, 0o640)
    return path
  }

  test('gives the sidecars that it causes the owner and mode of the database', async () => {
    const path = handedOver('wal')
    expect(existsSync(`${path}-shm`)).toBe(false)
    const captured = await capture(path)
    for (const name of [`${path}-wal`, `${path}-shm`]) {
      expect(statSync(name)).toMatchObject(NOBODY)
      expect(statSync(name).mode & 0o777).toBe(0o640)
    }
    await captured.close()
    for (const name of [`${path}-wal`, `${path}-shm`].filter(existsSync)) expect(statSync(name)).toMatchObject(NOBODY)
  })

  test.each(['wal', 'delete'])('leaves that user able to write, during and after it (%s)', async mode => {
    const path = handedOver(mode)
    const captured = await capture(path)
    const application = await sqlProcess(path, { timeout: 0, as: NOBODY })
    expect(await application.run("INSERT INTO t (b) VALUES ('during')")).toBe(1)
    await captured.close()
    expect(await application.run("INSERT INTO t (b) VALUES ('after')")).toBe(1)
    await application.close()
    const again = await sqlProcess(path, { timeout: 0, as: NOBODY })
    expect(await again.run("INSERT INTO t (b) VALUES ('later')")).toBe(1)
    expect(await again.run('SELECT count(*) FROM t')).toEqual([[5]])
  })
})
