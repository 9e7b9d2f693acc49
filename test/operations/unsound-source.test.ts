import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, it } from 'vitest'
import { list } from '../../src/operations/list.js'
import type { CheckLevel, RestoreRequest } from '../../src/operations/requests.js'
import { restore } from '../../src/operations/restore.js'
import { verify } from '../../src/operations/verify.js'
import { type Application, application } from './application.js'

/** States that work for the users of a database, and that integrity_check objects to. */
const nullState = {
  state: 'a NULL in a column that is NOT NULL now',
  make(database: Database.Database) {
    database.exec('CREATE TABLE broken (a); INSERT INTO broken VALUES (NULL)')
    editSchema(database, "sql = 'CREATE TABLE broken (a NOT NULL)' WHERE name = 'broken'")
  },
  mend: (database: Database.Database) => void database.exec("UPDATE broken SET a = 'x'"),
}
const states: { state: string; make(database: Database.Database): void }[] = [
  nullState,
  {
    state: 'a row that its index lacks',
    make(database) {
      database.exec('CREATE TABLE broken (a); CREATE INDEX by_a ON broken (a); INSERT INTO broken VALUES (1)')
      const page = database.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'by_a'").pluck().get()
      database.exec('DROP INDEX by_a; INSERT INTO broken VALUES (2); CREATE INDEX of_one ON broken (a) WHERE a = 1')
      editSchema(database, "name = 'by_a', sql = 'CREATE INDEX by_a ON broken (a)' WHERE name = 'of_one'")
      if (page === undefined) throw new Error('there was no index')
    },
  },
  {
    state: 'a full-text index that is behind its table',
    make(database) {
      database.exec("CREATE VIRTUAL TABLE fts USING fts5(a); INSERT INTO fts VALUES ('before')")
      database.unsafeMode()
      database.exec("UPDATE fts_content SET c0 = 'after'")
    },
  },
]

function editSchema(database: Database.Database, change: string): void {
  database.unsafeMode()
  database.pragma('writable_schema = ON')
  database.exec(`UPDATE sqlite_schema SET ${change}`)
  database.pragma('writable_schema = RESET')
}

function change(app: Application, work: (database: Database.Database) => void): void {
  const database = new Database(app.source.path)
  work(database)
  database.close()
}

function restored(app: Application, id: string, wishes: Partial<RestoreRequest> = {}) {
  const to = join(app.context.stateDirectory, `restored-${Math.random()}.db`)
  const target = { kind: 'path', path: to, force: false } as const
  const repositories = [app.source.repository]
  const request = { repositories, backup: id, at: undefined, target, source: app.source, dryRun: false }
  return restore(app.context, app.journal, { ...request, ...wishes })
}

async function made(app: Application, check?: CheckLevel, allowDamaged = false) {
  const result = await app.create({ check, allowDamaged })
  const [backup] = result.backups
  if (backup === undefined) throw new Error(result.failures[0]?.message)
  return backup
}

async function verified(app: Application, drill: boolean) {
  const repositories = [app.source.repository]
  await verify(app.context, app.journal, { repositories, sources: [app.source], targets: [], drill })
  const { backups } = await list(app.context, { repositories, source: 'app', all: false })
  return backups.map(({ proven }) => proven)
}

const inPlace = ({ source }: Application) => ({ target: { kind: 'in-place', source } as const })

it.each(states)('$state comes back beside the live data or, when that is allowed, in their place', async ({ make }) => {
  const app = await application({ checks: [] })
  change(app, make)
  const { id } = await made(app, 'none')
  const bytes = readFileSync(app.source.path)
  const beside = await restored(app, id)
  expect(beside.checks).toMatchObject([{ name: 'integrity_check', status: 'failed' }])
  expect(readFileSync(beside.target).equals(bytes)).toBe(true)
  expect(app.journal.heard.at(-1)).toBe('restore damage')
  await expect(restored(app, id, inPlace(app))).rejects.toMatchObject({
    code: 'restored_damaged',
    hint: expect.stringMatching(new RegExp(`restore ${id} --to PATH;.*--allow-damaged`)),
  })
  const allowed = await restored(app, id, { ...inPlace(app), allowDamaged: true })
  expect(allowed).toMatchObject({ checks: [{ status: 'failed' }] })
  expect(readFileSync(app.source.path).equals(bytes)).toBe(true)
})

it('an increment that nobody looked into is not proven by a verify, nor by a drill that finds it wrong', async () => {
  const app = await application({ checks: [] })
  await made(app)
  change(app, nullState.make)
  expect((await made(app, 'none')).type).toBe('incr')
  expect(await verified(app, false)).toEqual([true, false])
  expect(await verified(app, true)).toEqual([true, false])
})

it('an allowed backup of such a state marks the increments that stand on it until a check passes', async () => {
  const { make, mend } = nullState
  const app = await application({ checks: [] })
  change(app, make)
  await expect(made(app)).rejects.toThrow('integrity_check')
  const allowed = await made(app, undefined, true)
  expect(allowed.damaged_source).toBe(true)
  // What a drill finds keeps nobody from it either.
  expect(await verified(app, true)).toEqual([false])
  expect((await restored(app, allowed.id)).checks).toMatchObject([{ status: 'failed' }])
  change(app, database => database.exec('CREATE TABLE later (a)'))
  const unchecked = await made(app, 'none')
  expect(unchecked).toMatchObject({ type: 'incr', damaged_source: true })
  expect(unchecked.warnings.join()).toContain('was not checked itself')
  await expect(restored(app, unchecked.id, inPlace(app))).rejects.toMatchObject({ code: 'damaged_source' })
  // Nobody needs to allow it again, and it is looked at.
  expect(await made(app)).toMatchObject({
    type: 'incr',
    damaged_source: true,
    warnings: ['the source failed its checks'],
  })
  change(app, mend)
  const sound = await made(app)
  expect(sound).toMatchObject({ type: 'incr', damaged_source: false, warnings: [] })
  expect(await verified(app, false)).toEqual([false, false, false, true])
  expect((await restored(app, sound.id, inPlace(app))).checks).toMatchObject([{ status: 'ok' }])
})
