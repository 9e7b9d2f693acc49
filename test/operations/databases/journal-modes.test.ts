import { copyFileSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, it, vi } from 'vitest'
import { putInPlace } from '../../../src/operations/databases/put-in-place.js'
import { testContext } from '../../helpers/context.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

const ROWS = 200
// Nothing here waits for a disk.
if (existsSync('/dev/shm')) vi.stubEnv('TMPDIR', '/dev/shm')

function made(path: string, text: string, mode: string): Database.Database {
  const database = new Database(path)
  database.pragma(`journal_mode = ${mode}`)
  database.exec('CREATE TABLE t (text)')
  const insert = database.prepare('INSERT INTO t VALUES (?)')
  database.transaction(() => {
    for (let row = 0; row < ROWS; row += 1) insert.run(text.padEnd(500, '.'))
  })()
  return database
}

function contentOf(path: string): string {
  const copy = join(temporaryDirectory(), 'copy')
  for (const suffix of ['', '-journal']) if (existsSync(path + suffix)) copyFileSync(path + suffix, copy + suffix)
  const database = new Database(copy)
  try {
    const found = database
      .prepare('SELECT DISTINCT text FROM t')
      .pluck()
      .all()
      .map(text => String(text).replaceAll('.', ''))
    return `${found.join()} ${database.pragma('integrity_check', { simple: true })}`
  } finally {
    database.close()
  }
}

async function restoreOver(target: string): Promise<string> {
  const restored = join(temporaryDirectory(), 'restored')
  made(restored, 'restored', 'DELETE').close()
  const staged = `${target}.staged`
  const previous = `${target}.before-restore-20251201T000000.000Z`
  const placement = { source: 'app', target, staged, scratch: true, sidecars: [], previous, service: null }
  const more = { allowOtherNames: false, problems: [] }
  await putInPlace(testContext(), { ...placement, ...more }, async () => copyFileSync(restored, staged))
  return previous
}

it.each([
  ['PERSIST', (journal: Buffer) => journal.length > 512 && journal.subarray(0, 28).every(byte => byte === 0)],
  ['TRUNCATE', (journal: Buffer) => journal.length === 0],
])('journal_mode=%s leaves a journal that is no user: the database is restored in place', async (mode, isDone) => {
  const target = join(temporaryDirectory(), 'app.db')
  made(target, 'live', mode).close()
  expect(isDone(readFileSync(`${target}-journal`))).toBe(true)
  const previous = await restoreOver(target)
  expect([contentOf(target), contentOf(previous)]).toEqual(['restored ok', 'live ok'])
  // The application goes on in its own mode.
  const application = new Database(target)
  application.pragma(`journal_mode = ${mode}`)
  application.exec("UPDATE t SET text = 'later'")
  application.close()
  expect(contentOf(target)).toBe('later ok')
})

it.each([
  'PERSIST',
  'TRUNCATE',
  'DELETE',
])('a hot journal of journal_mode=%s is rolled back into what is kept', async mode => {
  const target = join(temporaryDirectory(), 'app.db')
  const source = join(temporaryDirectory(), 'crashing.db')
  const crashing = made(source, 'live', mode)
  crashing.pragma('cache_size = 5')
  crashing.exec("BEGIN; UPDATE t SET text = replace(text, 'live', 'half')")
  // What a crash leaves now: some pages of the transaction, and the journal that takes them back.
  for (const suffix of ['', '-journal']) copyFileSync(source + suffix, target + suffix)
  crashing.exec('ROLLBACK')
  crashing.close()
  expect(readFileSync(target).includes('half')).toBe(true)
  expect(statSync(`${target}-journal`).size).toBeGreaterThan(512)
  const previous = await restoreOver(target)
  expect([contentOf(target), contentOf(previous)]).toEqual(['restored ok', 'live ok'])
})

it('an empty or unarmed journal beside a database that nobody can open is kept with it', async () => {
  const target = join(temporaryDirectory(), 'app.db')
  writeFileSync(target, Buffer.alloc(8192, 7))
  writeFileSync(`${target}-journal`, Buffer.alloc(600))
  const previous = await restoreOver(target)
  expect(contentOf(target)).toBe('restored ok')
  expect(readFileSync(`${previous}-journal`).equals(Buffer.alloc(600))).toBe(true)
})
