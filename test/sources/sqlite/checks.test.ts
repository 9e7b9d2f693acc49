import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { runChecks } from '../../../src/sources/sqlite/checks.js'

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

  test.each(['SELECT * FROM missing', 'DELETE FROM t', 'INSERT INTO t VALUES (1, 2) RETURNING a', 'nonsense', ''])(
    'a query that cannot serve as a check has failed: %s',
    query => {
      const checked = database()
      const [outcome] = runChecks(checked, 'none', [query])
      expect(outcome).toMatchObject({ name: query, kind: 'content', status: 'failed' })
      expect(checked.prepare('SELECT count(*) FROM t').pluck().get()).toBe(3)
    },
  )

  test('a result that is too long to be kept has failed', () => {
    const [outcome] = runChecks(database(), 'none', ["SELECT printf('%.*c', 200000, 'x')"])
    expect(outcome).toMatchObject({ status: 'failed', detail: expect.stringContaining('aggregate it') })
  })
})
