import { openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { runChecks } from '../../../src/sources/sqlite/checks.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

function database() {
  const made = new Database(':memory:')
  made.exec("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, x'00ff'), (9007199254740993, NULL), (0.5, 'é')")
  return made
}

describe('runChecks', () => {
  test.each([
    ['integrity', ['integrity_check']],
    ['quick', ['quick_check']],
    ['none', []],
  ] as const)('runs what the level %s asks for', (level, names) => {
    const outcomes = runChecks(database(), level, [])
    expect(outcomes.map(({ name, status, detail }) => [name, status, detail])).toEqual(
      names.map(name => [name, 'ok', 'ok']),
    )
  })

  test('keeps integers of 64 bits, blobs, text and nothing apart', () => {
    const [outcome] = runChecks(database(), 'none', ['SELECT a, b FROM t ORDER BY rowid'])
    expect(outcome).toMatchObject({ kind: 'content', status: 'ok' })
    expect(JSON.parse(outcome?.detail ?? '')).toEqual([
      ['1', { blob: '00ff' }],
      ['9007199254740993', null],
      [0.5, 'é'],
    ])
  })

  test.each([
    'SELECT * FROM missing',
    'DELETE FROM t',
    'INSERT INTO t VALUES (1, 2) RETURNING a',
    'nonsense',
    '',
  ])('a query that cannot serve as a check says nothing of the database: %s', query => {
    const checked = database()
    const [outcome] = runChecks(checked, 'none', [query])
    expect(outcome).toMatchObject({ name: query, kind: 'content', status: 'error' })
    expect(checked.prepare('SELECT count(*) FROM t').pluck().get()).toBe(3)
  })

  test('a result that is too long to be kept says nothing of the database', () => {
    const [outcome] = runChecks(database(), 'none', ["SELECT printf('%.*c', 200000, 'x')"])
    expect(outcome).toMatchObject({ status: 'error', detail: expect.stringContaining('aggregate it') })
  })
})

describe('a database that uses what only its application defines', () => {
  /** A collation (of a name that SQLite does not know) in a key, a function in an index, and an ordinary table. */
  function special(): string {
    const path = join(temporaryDirectory(), 'a.db')
    const made = new Database(path)
    made.function('mine', { deterministic: true }, value => value)
    made.exec(`
      CREATE TABLE named (a TEXT COLLATE NOCASE PRIMARY KEY); INSERT INTO named VALUES ('a'), ('B');
      CREATE TABLE called (a, CHECK (mine(a) > 0)); CREATE INDEX by_mine ON called (mine(a)); INSERT INTO called VALUES (1);
      CREATE TABLE plain (a, b UNIQUE); INSERT INTO plain VALUES (1, zeroblob(3000)), (2, 'x')
    `)
    made.unsafeMode()
    made.pragma('writable_schema = ON')
    made.exec("UPDATE sqlite_schema SET sql = replace(sql, 'NOCASE', 'ICU_JA') WHERE name = 'named'")
    made.close()
    return path
  }

  test('is not called damaged, and what could not be checked is said', () => {
    const outcomes = runChecks(new Database(special(), { readonly: true }), 'integrity', ['SELECT count(*) FROM named'])
    expect(outcomes).toMatchObject([
      { name: 'integrity_check', status: 'ok', detail: expect.stringMatching(/^ok\nnot checked.*(ICU_JA|mine)/) },
      { status: 'ok', detail: '[["2"]]' },
    ])
  })

  test('is called damaged when it is', () => {
    const path = special()
    const database = new Database(path)
    const page = Number(database.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'plain'").pluck().get())
    database.close()
    const fd = openSync(path, 'r+')
    writeSync(fd, Buffer.alloc(200, 0xee), 0, 200, (page - 1) * 4096)
    const [outcome] = runChecks(new Database(path, { readonly: true }), 'integrity', [])
    expect(outcome?.status).toBe('failed')
  })
})
