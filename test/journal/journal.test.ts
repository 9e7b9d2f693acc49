import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type JournalDeps, openJournal } from '../../src/journal/journal.js'
import type { Journal } from '../../src/journal/types.js'
import { temporaryDirectory } from '../helpers/temporary.js'

const isRoot = process.getuid?.() === 0
const create = { operation: 'create', source: 'itsm', repository: '/var/backups/nexus' }

function open(state: string, deps: Partial<JournalDeps> = {}): Journal {
  let clock = Date.UTC(2025, 10, 3, 3)
  const now = () => {
    clock += 1000
    return new Date(clock)
  }
  const journal = openJournal(state, { now, host: 'db1', operator: { user: 'root', sudo_user: 'mika' }, ...deps })
  onTestFinished(() => journal.close())
  return journal
}

function raw(state: string): Database.Database {
  const database = new Database(join(state, 'catalog.db'))
  onTestFinished(() => void database.close())
  return database
}

describe('journal', () => {
  it('tells of each operation who, what, when and how it ended', () => {
    const journal = open(temporaryDirectory())
    const first = journal.begin(create)
    const second = journal.begin({ operation: 'prune', source: null, repository: null })
    second.end({ result: 'refused', error: 'the policy keeps nothing' })
    first.end({ result: 'done', backup: '20251103T030000.123Z-full-7f3a' })
    expect(journal.read()).toEqual({
      chain: { ok: true },
      records: [
        {
          sequence: 1,
          operation: 'create',
          source: 'itsm',
          backup: '20251103T030000.123Z-full-7f3a',
          repository: '/var/backups/nexus',
          operator: { user: 'root', sudo_user: 'mika' },
          host: 'db1',
          started_at: '2025-11-03T03:00:01.000Z',
          ended_at: '2025-11-03T03:00:04.000Z',
          result: 'done',
          error: null,
        },
        {
          sequence: 2,
          operation: 'prune',
          source: null,
          backup: null,
          repository: null,
          operator: { user: 'root', sudo_user: 'mika' },
          host: 'db1',
          started_at: '2025-11-03T03:00:02.000Z',
          ended_at: '2025-11-03T03:00:03.000Z',
          result: 'refused',
          error: 'the policy keeps nothing',
        },
      ],
    })
  })

  it('makes nothing before there is something to write', () => {
    const state = join(temporaryDirectory(), 'state')
    const journal = open(state)
    expect(journal.read()).toEqual({ records: [], chain: { ok: true } })
    expect(journal.head()).toBeNull()
    expect(() => statSync(state)).toThrow('ENOENT')
  })

  it('keeps its directory and its file to their owner and leaves nothing beside it', () => {
    const state = join(temporaryDirectory(), 'deep', 'state')
    open(state).begin(create).end({ result: 'done' })
    expect(statSync(state).mode & 0o777).toBe(0o700)
    expect(statSync(join(state, 'catalog.db')).mode & 0o777).toBe(0o600)
    expect(readdirSync(state)).toEqual(['catalog.db'])
  })

  it.runIf(isRoot)('gives its file to the owner of the state directory when root makes it', () => {
    const state = temporaryDirectory()
    const chown = spawnSync('chown', ['12345:54321', state])
    expect(chown.status).toBe(0)
    open(state).begin(create)
    expect(statSync(join(state, 'catalog.db'))).toMatchObject({ uid: 12345, gid: 54321 })
  })

  it('moves its head with every link, so that a cut-off tail shows', () => {
    const state = temporaryDirectory()
    const journal = open(state)
    const entry = journal.begin(create)
    const early = journal.head()
    entry.end({ result: 'done' })
    const late = journal.head()
    expect([early?.sequence, late?.sequence]).toEqual([1, 2])
    expect(late?.hash).toMatch(/^[0-9a-f]{64}$/)
    raw(state).exec('DELETE FROM journal WHERE sequence = 2')
    expect(journal.read().chain).toEqual({ ok: true })
    expect(journal.head()).toEqual(early)
  })

  it('keeps texts that UTF-8 cannot hold, and those with any character, provably unchanged', () => {
    const journal = open(temporaryDirectory())
    journal
      .begin({ operation: 'a","b', source: '\0 \u2028 "\\', repository: '\ud800 lone' })
      .end({ result: '', error: '🦊\n' })
    journal.begin(create).end({ result: 'failed', error: 'x'.repeat(100_000) })
    expect(journal.read().chain).toEqual({ ok: true })
    expect(journal.read().records[0]).toMatchObject({ operation: 'a","b', source: '\0 \u2028 "\\', error: '🦊\n' })
  })

  it('goes on where an earlier run stopped', () => {
    const state = temporaryDirectory()
    open(state).begin(create).end({ result: 'done' })
    const later = open(state)
    later.begin(create).end({ result: 'done' })
    expect(later.read().records.map(({ sequence }) => sequence)).toEqual([1, 3])
    expect(later.head()?.sequence).toBe(4)
  })
})

describe('operations without an end', () => {
  it('run while their process lives on this host, and were interrupted otherwise', () => {
    const state = temporaryDirectory()
    open(state).begin(create)
    expect(open(state).read().records[0]).toMatchObject({ result: 'running', ended_at: null })
    expect(open(state, { host: 'db2' }).read().records[0]?.result).toBe('interrupted')
  })

  it('were interrupted when their process is gone, or another has its number', () => {
    for (const [column, value] of [
      ['pid', spawnSync('true').pid],
      ['process_start', 'some-other-boot:1'],
    ] as const) {
      const state = temporaryDirectory()
      open(state).begin(create)
      raw(state).prepare(`UPDATE journal SET ${column} = ?`).run(value)
      expect(open(state).read().records[0]?.result).toBe('interrupted')
    }
  })
})

describe('a journal that somebody changed', () => {
  interface Row extends Record<string, unknown> {
    sequence: number
  }

  function smallJournal(): { state: string; rows: Row[] } {
    const state = temporaryDirectory()
    const journal = open(state)
    for (const result of ['done', 'failed', 'damage']) journal.begin(create).end({ result, backup: 'b', error: 'e' })
    return { state, rows: raw(state).prepare<[], Row>('SELECT * FROM journal ORDER BY sequence').all() }
  }

  function chainAfter(change: (database: Database.Database, rows: Row[]) => void): string | undefined {
    const made = smallJournal()
    const database = raw(made.state)
    change(database, made.rows)
    database.close()
    const { chain } = open(made.state).read()
    return chain.ok ? undefined : chain.problem
  }

  function insert(database: Database.Database, row: Row): void {
    const names = Object.keys(row)
    database.prepare(`INSERT INTO journal (${names}) VALUES (${names.map(name => `@${name}`)})`).run(row)
  }

  it('shows every edit of every field of every row', () => {
    const names = Object.keys(smallJournal().rows[0] ?? {}).filter(name => name !== 'sequence')
    expect(names).toHaveLength(16)
    for (const name of names) {
      for (const sequence of [1, 2, 3, 4, 5, 6]) {
        const problem = chainAfter((database, before) => {
          const value = before[sequence - 1]?.[name]
          const edited = typeof value === 'number' ? value + 1 : `${value}x`
          database.prepare(`UPDATE journal SET ${name} = ? WHERE sequence = ?`).run(edited, sequence)
        })
        expect(problem, `${name} of row ${sequence}`).toMatch(new RegExp(`^link ${sequence} `))
      }
    }
  })

  it('shows a null in place of a value', () => {
    const problem = chainAfter(database => database.exec('UPDATE journal SET error = NULL WHERE sequence = 4'))
    expect(problem).toBe('link 4 was changed')
  })

  it('shows every row removed before the last', () => {
    for (const sequence of [1, 2, 3, 4, 5]) {
      expect(chainAfter(database => database.exec(`DELETE FROM journal WHERE sequence = ${sequence}`))).toBe(
        `link ${sequence} is missing`,
      )
    }
  })

  it('shows every row removed with the later ones moved up', () => {
    for (const sequence of [1, 2, 3, 4, 5]) {
      const problem = chainAfter(database => {
        database.exec(`DELETE FROM journal WHERE sequence = ${sequence}`)
        for (let later = sequence + 1; later <= 6; later++) {
          database.exec(`UPDATE journal SET sequence = ${later - 1} WHERE sequence = ${later}`)
        }
      })
      expect(problem).toBe(`link ${sequence} does not follow the one before it`)
    }
  })

  it('shows any two rows exchanged', () => {
    for (let a = 1; a <= 6; a++) {
      for (let b = a + 1; b <= 6; b++) {
        const problem = chainAfter(database => {
          database.exec(`UPDATE journal SET sequence = 100 WHERE sequence = ${a}`)
          database.exec(`UPDATE journal SET sequence = ${a} WHERE sequence = ${b}`)
          database.exec(`UPDATE journal SET sequence = ${b} WHERE sequence = 100`)
        })
        expect(problem, `${a} and ${b}`).toMatch(new RegExp(`^link ${a} `))
      }
    }
  })

  it('shows a row inserted anywhere', () => {
    for (const place of [-1, 0, 1, 2, 3, 4, 5, 6, 7]) {
      const problem = chainAfter((database, before) => {
        for (let later = 6; later >= Math.max(1, place); later--) {
          database.exec(`UPDATE journal SET sequence = ${later + 1} WHERE sequence = ${later}`)
        }
        insert(database, { ...(before[2] ?? { sequence: 0 }), sequence: place })
      })
      expect(problem, `at ${place}`).toBeDefined()
    }
  })
})

describe('a catalog that cannot be used', () => {
  function expectFault(state: string, fault: { kind: string; code: string }): void {
    const journal = open(state)
    const matching = expect.objectContaining({ ...fault, message: expect.stringContaining(join(state, 'catalog.db')) })
    expect(() => journal.begin(create)).toThrow(matching)
    expect(() => journal.read()).toThrow(matching)
  }

  function used(): string {
    const state = temporaryDirectory()
    const journal = open(state)
    for (let n = 0; n < 200; n++) journal.begin(create).end({ result: 'done' })
    journal.close()
    return state
  }

  it('because it is not a database is damage, with the way to put it aside', () => {
    const state = temporaryDirectory()
    writeFileSync(join(state, 'catalog.db'), 'a letter to my aunt, who never liked databases much'.repeat(100))
    expectFault(state, { kind: 'damage', code: 'journal_damaged' })
    const file = join(state, 'catalog.db')
    expect(() => open(state).read()).toThrow(
      expect.objectContaining({ hint: expect.stringContaining(`mv ${file} ${file}.aside`) }),
    )
  })

  it('because it is cut short is damage', () => {
    const state = used()
    truncateSync(join(state, 'catalog.db'), 9000)
    expectFault(state, { kind: 'damage', code: 'journal_damaged' })
  })

  it('because its table was dropped is damage', () => {
    const state = used()
    raw(state).exec('DROP TABLE journal; CREATE TABLE other (a)')
    expectFault(state, { kind: 'damage', code: 'journal_damaged' })
  })

  it('because another program made it is refused, and it stays as it was', () => {
    const state = temporaryDirectory()
    raw(state).exec('CREATE TABLE incidents (id)')
    const before = readFileSync(join(state, 'catalog.db'))
    expectFault(state, { kind: 'refused', code: 'journal_foreign' })
    expect(readFileSync(join(state, 'catalog.db')).equals(before)).toBe(true)
  })

  it('because a later version made it is refused', () => {
    const state = used()
    raw(state).pragma('user_version = 2')
    expectFault(state, { kind: 'refused', code: 'journal_version' })
  })

  it('because it is a link or a directory is refused', () => {
    const linked = temporaryDirectory()
    symlinkSync(join(used(), 'catalog.db'), join(linked, 'catalog.db'))
    expectFault(linked, { kind: 'refused', code: 'journal_foreign' })
    const occupied = temporaryDirectory()
    mkdirSync(join(occupied, 'catalog.db'))
    expectFault(occupied, { kind: 'refused', code: 'journal_foreign' })
  })

  it('is taken as new when a killed first run left it empty', () => {
    const state = temporaryDirectory()
    writeFileSync(join(state, 'catalog.db'), '')
    const journal = open(state)
    expect(journal.head()).toBeNull()
    journal.begin(create).end({ result: 'done' })
    expect(journal.read()).toMatchObject({ chain: { ok: true }, records: [{ result: 'done' }] })
  })

  it.skipIf(isRoot)('for want of permission names the ways out (root may write everywhere)', () => {
    const state = used()
    chmodSync(join(state, 'catalog.db'), 0o400)
    const journal = open(state)
    expect(journal.read().records).toHaveLength(200)
    expect(() => journal.begin(create)).toThrow(expect.objectContaining({ code: 'journal_permission' }))
  })
})
