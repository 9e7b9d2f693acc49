import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, mkdirSync, statSync, utimesSync } from 'node:fs'
import { dirname, join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { OverwriteRule, PartRules } from '../../../src/operations/requests.js'
import { restore } from '../../../src/operations/restore.js'
import { program } from '../../end-to-end/helpers/run.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { type Directories, directories } from '../directories.js'

/** A database with content that stands in its log alone, as a program leaves it that was killed. */
function crashed(path: string, content: string): void {
  mkdirSync(dirname(path), { recursive: true })
  const scratch = join(temporaryDirectory(), 'scratch')
  const database = new Database(scratch)
  database.pragma('journal_mode = WAL')
  database.exec(`CREATE TABLE t (x); INSERT INTO t VALUES ('${content}')`)
  database.pragma('wal_checkpoint(TRUNCATE)')
  database.exec("INSERT INTO t VALUES ('in the log')")
  for (const suffix of ['', '-wal']) copyFileSync(scratch + suffix, path + suffix)
  database.close()
}

function rowsOf(path: string): unknown[] {
  const database = new Database(path)
  try {
    expect(database.pragma('integrity_check', { simple: true })).toBe('ok')
    return database.prepare('SELECT x FROM t').pluck().all()
  } finally {
    database.close()
  }
}

const only = (name: string): PartRules => ({ include: [name], exclude: [] })

function merge(at: Directories, overwrite: OverwriteRule, part?: PartRules) {
  const target = { kind: 'path', path: join(at.room, 'into'), force: false } as const
  const request = at.restoring(target, { merge: { overwrite }, ...(part === undefined ? {} : { part }) })
  return restore(at.context, at.journal, request)
}

/** A database with a log that is backed up as files, and another one with its log in the place that it is merged into. */
async function twoDatabases() {
  const at = directories()
  const live = join(at.uploads, 'app.db')
  crashed(live, 'then')
  await at.backUp()
  const path = join(at.room, 'into', live)
  crashed(path, 'now')
  return { at, path }
}

async function holding(path: string): Promise<ChildProcess> {
  const holder = spawn(process.execPath, [program('hold-open'), path], { stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(() => void holder.kill('SIGKILL'))
  await once(holder.stdout, 'data')
  return holder
}

describe('a merge over a database with a log', () => {
  it.each(['always', 'if-changed'] as const)('replaces both by one that is complete: %s', async rule => {
    const { at, path } = await twoDatabases()
    const { problems, previous } = await merge(at, rule, only('app.db*'))
    expect(problems).toEqual([])
    expect([existsSync(`${path}-wal`), rowsOf(path)]).toEqual([false, ['then', 'in the log']])
    const kept = join(previous ?? '', path.slice(join(at.room, 'into').length))
    expect([existsSync(`${kept}-wal`), rowsOf(kept)]).toEqual([false, ['now', 'in the log']])
  })

  it.each(['never', 'if-newer'] as const)('puts no log beside another database: %s', async rule => {
    const { at, path } = await twoDatabases()
    // Complete by itself, and newer.
    rowsOf(path)
    utimesSync(path, Date.now() / 1000 + 100, Date.now() / 1000 + 100)
    expect(existsSync(`${path}-wal`)).toBe(false)
    const { merged } = await merge(at, rule, only('app.db*'))
    expect(merged).toMatchObject({ replaced: [], left: 2 })
    expect([existsSync(`${path}-wal`), rowsOf(path)]).toEqual([false, ['now', 'in the log']])
  })

  it('puts no log beside another database where the log alone is asked for', async () => {
    const { at, path } = await twoDatabases()
    rowsOf(path)
    const { problems } = await merge(at, 'always', only('app.db-wal'))
    expect(problems?.join('\n')).toMatch(/app\.db-wal is not restored: it would be taken for the log of app\.db/)
    expect(rowsOf(path)).toEqual(['now', 'in the log'])
  })

  it('does nothing again where nothing was changed', async () => {
    const { at, path } = await twoDatabases()
    await merge(at, 'always')
    const { mtimeMs } = statSync(path)
    const again = await merge(at, 'if-changed')
    expect(again.merged).toMatchObject({ created: 0, replaced: [] })
    expect(statSync(path).mtimeMs).toBe(mtimeMs)
  })

  it('leaves one alone that a program has open, and names the program', async () => {
    const { at, path } = await twoDatabases()
    const holder = await holding(path)
    const { problems } = await merge(at, 'always', only('app.db*'))
    expect(problems?.[0]).toContain(`${path} is in use by`)
    expect(problems?.[0]).toContain(`pid ${holder.pid}`)
    expect(problems).toHaveLength(1)
    expect(rowsOf(path)).toEqual(['now', 'in the log'])
    const gone = once(holder, 'exit')
    holder.kill('SIGKILL')
    await gone
    expect((await merge(at, 'always', only('app.db*'))).problems).toEqual([])
    expect(rowsOf(path)).toEqual(['then', 'in the log'])
  })
})
