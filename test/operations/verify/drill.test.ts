import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it } from 'vitest'
import type { Context } from '../../../src/context.js'
import { list } from '../../../src/operations/list.js'
import type { RestoreRequest } from '../../../src/operations/requests.js'
import { restore } from '../../../src/operations/restore.js'
import { verify } from '../../../src/operations/verify.js'
import { openRepository } from '../../../src/repository/open.js'
import type { Proof } from '../../../src/repository/types.js'
import { canMount, fill, smallDisk } from '../../end-to-end/helpers/small-disk.js'
import { type Application, application } from '../application.js'

function drilled(app: Application, context: Context = app.context) {
  const repositories = [app.source.repository]
  return verify(context, app.journal, { repositories, sources: [app.source], targets: [], drill: true })
}

function restored(app: Application, id: string, target: Partial<RestoreRequest> = {}) {
  const to = join(app.context.stateDirectory, `restored-${Math.random()}.db`)
  return restore(app.context, app.journal, {
    repositories: [app.source.repository],
    backup: id,
    at: undefined,
    target: { kind: 'path', path: to, force: false },
    source: app.source,
    dryRun: false,
    ...target,
  })
}

async function roomOf(app: Application) {
  return (await openRepository(app.source.repository)).source('app')
}

async function backedUp(wishes: Parameters<typeof application>[0] = {}): Promise<{ app: Application; id: string }> {
  const app = await application(wishes)
  const [backup] = (await app.create({ allowDamaged: true })).backups
  return { app, id: backup?.id ?? '' }
}

async function isProven(app: Application): Promise<boolean | undefined> {
  const request = { repositories: [app.source.repository], source: 'app', all: false }
  return (await list(app.context, request)).backups[0]?.proven
}

/** A database with an index that lacks an entry: SQLite finds that, and only integrity_check. */
async function withBrokenIndex(app: Application): Promise<void> {
  const database = new Database(app.source.path)
  database.exec('CREATE TABLE broken (a); CREATE INDEX by_a ON broken (a); INSERT INTO broken VALUES (1), (2)')
  database.unsafeMode()
  database.pragma('writable_schema = ON')
  database.exec(
    "UPDATE sqlite_schema SET sql = 'CREATE INDEX by_a ON broken (a COLLATE NOCASE, a)' WHERE name = 'by_a'",
  )
  database.close()
}

describe('a drill that this machine keeps from being carried out', () => {
  it('is no damage: it is said, nothing is refused, and what was proven stays so', async () => {
    const { app, id } = await backedUp({ checks: ['SELECT count(*) FROM items'] })
    const room = await roomOf(app)
    const at = app.context.now().toISOString()
    await room.addProof({ id, at, status: 'drill-failed', level: 'drill', findings: [{ part: 'drill', problem: 'x' }] })
    expect(await isProven(app)).toBe(true)
    await expect(restored(app, id)).resolves.toMatchObject({ id })
    expect(app.warnings.at(-1)).toMatch(/^app: the drill of 2025.* could not be carried out.*verify .* --drill/)
    const { results } = await drilled(app)
    expect(results.at(-1)).toMatchObject({ status: 'ok', level: 'drill' })
    app.warnings.splice(0)
    await restored(app, id)
    expect(app.warnings).toEqual([])
  })

  it('is read by earlier releases as something that was not read', async () => {
    const { app, id } = await backedUp()
    const room = await roomOf(app)
    const proof: Proof = { id, at: '2026-01-01T00:00:00.000Z', status: 'drill-failed', level: 'drill', findings: [] }
    await room.addProof(proof)
    const proofs = join(app.source.repository.path, 'app/proofs')
    const name = readdirSync(proofs).find(file => file.includes('20260101T')) ?? ''
    expect(JSON.parse(readFileSync(join(proofs, name), 'utf8'))).toMatchObject({
      status: 'unread',
      outcome: 'drill-failed',
    })
    expect((await room.proofs()).at(-1)).toEqual(proof)
  })

  it.skipIf(!canMount)('has no room in scratch', async () => {
    const { app, id } = await backedUp({ database: { rows: 40_000 } })
    const state = smallDisk(join(app.context.stateDirectory, 'small'), 8 << 20)
    fill(state, 2 << 20)
    const { results } = await drilled(app, { ...app.context, stateDirectory: state })
    expect(results).toMatchObject([{ id, status: 'drill-failed', level: 'drill', affects: [] }])
    expect(results[0]?.findings[0]?.problem).toMatch(/could not be carried out: .*(no space|full)/i)
    expect(app.journal.heard.at(-1)).toBe('drill partial')
    await expect(restored(app, id)).resolves.toMatchObject({ id })
  })

  it('is also one whose query does not run, which SQLite says nothing else of', async () => {
    const { app, id } = await backedUp({ checks: ['SELECT count(*) FROM no_such_table'] })
    const { results } = await drilled(app)
    expect(results).toMatchObject([{ id, status: 'drill-failed' }])
    expect(results[0]?.findings).toMatchObject([{ problem: expect.stringMatching(/could not be run.*no such table/) }])
    const { checks } = await restored(app, id)
    expect(checks.map(({ status }) => status)).toEqual(['ok', 'error'])
  })
})

describe('what SQLite finds wrong in bytes that are those that were captured', () => {
  it('is a mark on the backup, which is restored beside the live data and not over them', async () => {
    const app = await application()
    await withBrokenIndex(app)
    const [backup] = (await app.create({ check: 'none' })).backups
    const id = backup?.id ?? ''
    const { results } = await drilled(app)
    expect(results).toMatchObject([{ id, status: 'source-damaged', affects: [] }])
    expect(app.journal.heard.at(-1)).toBe('drill damage')
    expect(await isProven(app)).toBe(false)
    const { checks } = await restored(app, id)
    expect(checks[0]).toMatchObject({ name: 'integrity_check', status: 'failed' })
    expect(app.warnings.at(-1)).toMatch(/found that content wrong/)
    const inPlace = { target: { kind: 'in-place' as const, source: app.source } }
    await expect(restored(app, id, inPlace)).rejects.toMatchObject({ kind: 'refused', code: 'restored_damaged' })
    // Bytes that are whole do not make the content right.
    const repositories = [app.source.repository]
    await verify(app.context, app.journal, { repositories, sources: [], targets: [], drill: false })
    expect(await isProven(app)).toBe(false)
  })

  it('is also an answer other than the one at capture', async () => {
    const { app, id } = await backedUp({ checks: ['SELECT random()'] })
    expect((await drilled(app)).results).toMatchObject([{ id, status: 'source-damaged' }])
    await expect(restored(app, id)).resolves.toMatchObject({ id })
  })
})

describe('a drill of an earlier release that called its own failure damage', () => {
  it('is believed until a verify has read every byte', async () => {
    const { app, id } = await backedUp()
    const room = await roomOf(app)
    const at = app.context.now().toISOString()
    const findings = [{ part: 'SELECT 1', problem: 'fails after a restore: x' }]
    await room.addProof({ id, at, status: 'damaged', level: 'drill', findings })
    await expect(restored(app, id)).rejects.toMatchObject({
      kind: 'damage',
      message: expect.stringContaining(`nexus-backup verify ${id}`),
    })
    const repositories = [app.source.repository]
    await verify(app.context, app.journal, { repositories, sources: [], targets: [], drill: false })
    await expect(restored(app, id)).resolves.toMatchObject({ id })
  })
})
