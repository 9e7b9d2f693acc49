import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it, onTestFinished } from 'vitest'
import { restore } from '../../../src/operations/restore.js'
import { type Directories, directories } from '../directories.js'

const library = createRequire(import.meta.url).resolve('better-sqlite3')

/** Adds to two tables in each transaction, all the time, checkpoints now and then, and says when it has begun. */
const writer = `
const Database = require(${JSON.stringify(library)})
const database = new Database(process.argv[1])
database.pragma('journal_mode = ' + process.argv[2])
database.pragma('busy_timeout = 20000')
database.exec('CREATE TABLE IF NOT EXISTS a (n INTEGER, fill TEXT); CREATE TABLE IF NOT EXISTS b (n INTEGER, fill TEXT)')
let n = 0
const both = database.transaction(() => {
  for (const table of ['a', 'b']) database.prepare('INSERT INTO ' + table + ' VALUES (?, ?)').run(n, 'x'.repeat(2000))
})
const idle = process.argv[3] === 'idle'
const go = () => {
  for (let at = 0; at < 20; at += 1) { n += 1; both() }
  if (n === 200) console.log('begun')
  if (idle && n === 200) { setInterval(() => {}, 1000); return }
  setTimeout(go, 1)
}
go()
`

/** A process that has a database open and writes to it until the test ends; resolves once it has begun. */
async function written(path: string, mode: string, then = 'busy'): Promise<void> {
  mkdirSync(join(path, '..'), { recursive: true })
  const child = spawn(process.execPath, ['-e', writer, path, mode, then], { stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await once(child, 'close')
  })
  await once(child.stdout, 'data')
}

async function restored(place: Directories, backup: string): Promise<string> {
  const path = join(place.room, `beside-${backup}`)
  await restore(place.context, place.journal, place.restoring({ kind: 'path', path, force: false }, { backup }))
  return join(path, place.uploads)
}

/** Rows of both tables of a sound database. */
function rowsOf(path: string): number {
  const database = new Database(path)
  try {
    expect(database.pragma('integrity_check', { simple: true })).toBe('ok')
    const [a, b] = ['a', 'b'].map(table => database.prepare(`SELECT count(*) AS c, max(n) AS m FROM ${table}`).get())
    expect(a).toEqual(b)
    return (a as { c: number }).c
  } finally {
    database.close()
  }
}

describe.each(['WAL', 'DELETE', 'PERSIST'])('a database in mode %s that is written to all the time', mode => {
  it('is captured whole by every backup, and opens clean where it is restored', async () => {
    const place = directories({ sqlite: true })
    await written(join(place.uploads, 'deep/app.db'), mode)
    writeFileSync(join(place.uploads, 'deep/notes-wal'), 'no log of a database')
    let before = 0
    for (const type of ['full', 'incr', 'incr'] as const) {
      const backup = await place.backUp({ type })
      expect(backup).toMatchObject({ type, incomplete: false, warnings: [] })
      const root = await restored(place, backup.id)
      expect(readdirSync(join(root, 'deep')).sort()).toEqual(['app.db', 'notes-wal'])
      const rows = rowsOf(join(root, 'deep/app.db'))
      expect(rows).toBeGreaterThan(before)
      before = rows
    }
  })
})

describe('a database whose file does not change', () => {
  it('is captured with what stands in its log, also where the setting comes later', async () => {
    const place = directories()
    const path = join(place.uploads, 'app.db')
    const database = new Database(path)
    onTestFinished(() => void database.close())
    database.close()
    await written(path, 'WAL', 'idle')
    const settled = place.context.now
    place.context.now = () => new Date(settled().getTime() + 365 * 24 * 3600 * 1000)
    const { warnings } = await place.backUp()
    expect(warnings).toEqual([
      expect.stringContaining(
        `SQLite databases in use, whose files need not fit together in this backup: ${path}; set sqlite: true`,
      ),
    ])
    place.source.sqlite = true
    const { id } = await place.backUp()
    const root = await restored(place, id)
    expect([readdirSync(root), rowsOf(join(root, 'app.db'))]).toEqual([['app.db'], 200])
  })
})

describe('without the setting', () => {
  it('databases in use are named once, with a log beside them or merely open, and others are not', async () => {
    const place = directories()
    const { uploads } = place
    await written(join(uploads, 'wal.db'), 'WAL', 'idle')
    await written(join(uploads, 'open.db'), 'DELETE', 'idle')
    const closed = new Database(join(uploads, 'closed.db'))
    closed.exec('CREATE TABLE t (x)')
    closed.close()
    writeFileSync(join(uploads, 'text-wal'), '')
    writeFileSync(join(uploads, 'text'), 'none')
    const { warnings, incomplete } = await place.backUp()
    expect(incomplete).toBe(false)
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toContain(
      `in this backup: ${join(uploads, 'open.db')}, ${join(uploads, 'wal.db')}; set sqlite: true`,
    )
  })
})

describe('what cannot be captured as a database', () => {
  it('is read like any other file with what lies beside it, and said', async () => {
    const place = directories({ sqlite: true })
    const path = join(place.uploads, 'bad.db')
    const bytes = Buffer.alloc(8192, 7)
    bytes.write('SQLite format 3\0', 'latin1')
    writeFileSync(path, bytes)
    writeFileSync(`${path}-wal`, 'a log')
    const backup = await place.backUp()
    expect(backup.incomplete).toBe(true)
    expect(backup.warnings).toEqual([expect.stringContaining(`${path} is a SQLite database and was read as a file`)])
    const root = await restored(place, backup.id)
    expect([readFileSync(join(root, 'bad.db')).equals(bytes), existsSync(join(root, 'bad.db-wal'))]).toEqual([
      true,
      true,
    ])
  })
})
