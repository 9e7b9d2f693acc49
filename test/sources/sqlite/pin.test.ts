import { openSync, readFileSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { explain, Pin } from '../../../src/sources/sqlite/pin.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { capture } from './capturing.js'
import { sqlProcess } from './sql-process.js'

function database(mode: 'wal' | 'delete'): string {
  const path = join(temporaryDirectory(), 'a.db')
  const made = new Database(path)
  made.pragma(`journal_mode = ${mode}`)
  made.exec('CREATE TABLE t (a); INSERT INTO t VALUES (1)')
  made.close()
  return path
}

describe('Pin', () => {
  test('sees one commit for as long as it is held', async () => {
    const path = database('wal')
    const application = await sqlProcess(path)
    await application.run('INSERT INTO t VALUES (2)')
    const pin = await Pin.on(path, new AbortController().signal)
    await application.run('INSERT INTO t VALUES (3)')
    expect(await pin.check('none', ['SELECT count(*) FROM t'])).toMatchObject([{ detail: '[["2"]]' }])
    await pin.release()
  })

  test('may be released twice', async () => {
    const pin = await Pin.on(database('wal'), new AbortController().signal)
    await Promise.all([pin.release(), pin.release()])
    await pin.release()
  })

  test('moves to another database, and lets go of the first whether or not it is there', async () => {
    const [path, other] = [database('delete'), database('wal')]
    const application = await sqlProcess(path, { timeout: 50 })
    for (const to of [other, join(temporaryDirectory(), 'missing.db')]) {
      const pin = await Pin.on(path, new AbortController().signal)
      await expect(application.run('INSERT INTO t VALUES (2)')).rejects.toThrow(/locked|busy/i)
      const moved = pin.moveTo(to)
      if (to === other) {
        expect((await moved).snapshot.journalMode).toBe('wal')
        expect(await (await moved).check('none', ['SELECT count(*) FROM t'])).toMatchObject([{ detail: '[["1"]]' }])
      } else await expect(moved).rejects.toMatchObject({ code: 'source_unreadable' })
      await application.run('INSERT INTO t VALUES (2)')
      await pin.release()
      if (to === other) await (await moved).release()
    }
  })

  test('names who holds the database exclusively, in either journal mode', async () => {
    const refused = (['wal', 'delete'] as const).map(async mode => {
      const path = database(mode)
      const application = await sqlProcess(path)
      await application.run('PRAGMA locking_mode=EXCLUSIVE;;BEGIN EXCLUSIVE;;INSERT INTO t VALUES (2);;COMMIT')
      await expect(capture(path)).rejects.toMatchObject({
        code: 'source_busy',
        message: expect.stringMatching(new RegExp(`held exclusively by .*node -e .*pid ${application.child.pid}`)),
        hint: expect.stringContaining('EXCLUSIVE'),
      })
    })
    await Promise.all(refused)
  })

  test('says that a damaged schema is damage', async () => {
    const path = database('delete')
    const fd = openSync(path, 'r+')
    // The b-tree header of page 1, right after the file's header.
    writeSync(fd, Buffer.alloc(60, 0xa5), 0, 60, 100)
    await expect(Pin.on(path, new AbortController().signal)).rejects.toMatchObject({
      kind: 'damage',
      code: 'source_damaged',
    })
  })

  test('says that a file which lost its end is damaged', async () => {
    const path = database('delete')
    const made = new Database(path)
    made.exec('INSERT INTO t VALUES (zeroblob(50000))')
    made.close()
    truncateSync(path, statSync(path).size - 3 * 4096)
    await expect(capture(path)).rejects.toMatchObject({ kind: 'damage', code: 'source_damaged' })
  })

  test('says that a good header before nonsense is damage or no database', async () => {
    const path = database('delete')
    const bytes = readFileSync(path)
    writeFileSync(path, Buffer.concat([bytes.subarray(0, 100), Buffer.alloc(bytes.length - 100, 0x5a)]))
    await expect(capture(path)).rejects.toMatchObject({ name: 'NexusError', code: 'source_damaged' })
  })
})

describe('explain', () => {
  test.each([
    ['SQLITE_NOTADB', 'failed', 'not_a_database'],
    ['SQLITE_CORRUPT', 'damage', 'source_damaged'],
    ['SQLITE_CORRUPT_INDEX', 'damage', 'source_damaged'],
    ['SQLITE_BUSY', 'failed', 'source_busy'],
    ['SQLITE_BUSY_RECOVERY', 'failed', 'source_busy'],
    ['SQLITE_PROTOCOL', 'failed', 'source_busy'],
    ['SQLITE_READONLY_ROLLBACK', 'failed', 'source_needs_rollback'],
    ['SQLITE_CANTOPEN', 'failed', 'source_unreadable'],
    ['SQLITE_READONLY_CANTINIT', 'failed', 'source_unreadable'],
    ['SQLITE_IOERR_READ', 'failed', 'source_failed'],
    [undefined, 'failed', 'source_failed'],
  ])('puts %s in words', (sqlite, kind, code) => {
    const error = explain('/nowhere/a.db', { message: 'why', sqlite, missing: false })
    expect(error).toMatchObject({ kind, code })
    expect(error.message).toContain('/nowhere/a.db')
  })

  test('takes a sidecar that vanished while being opened for a replaced database', () => {
    expect(explain('/nowhere/a.db', { message: 'ENOENT', sqlite: undefined, missing: true }).code).toBe('source_moved')
  })
})
