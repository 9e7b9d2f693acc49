import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { finishInterruptedDatabaseRestore } from '../../src/operations/databases/interrupted-restore.js'
import type { RestoreRequest } from '../../src/operations/requests.js'
import { planRestore, restore } from '../../src/operations/restore.js'
import { planRollback, rollback } from '../../src/operations/rollback.js'
import { createRecord, readRecord } from '../../src/sources/sqlite/restore-record.js'
import { changeDatabase, crashAfterCommit, expectedState, holdOpen, stateOf } from '../end-to-end/helpers/database.js'
import { type Application, application } from './application.js'

function request(app: Application, target: RestoreRequest['target'], backup = 'app'): RestoreRequest {
  return {
    repositories: [app.source.repository],
    backup,
    target,
    source: app.source,
    at: undefined,
    dryRun: false,
  }
}

const beside = (app: Application, name = 'restored.db') => join(dirname(app.source.path), name)

describe('restore to a path', () => {
  it('brings back the image of a chain exactly, and refuses to write over anything', async () => {
    const app = await application()
    await app.create()
    await changeDatabase(app.source.path, 1)
    await app.create()
    const before = readFileSync(app.source.path)
    const to = request(app, { kind: 'path', path: beside(app), force: false })
    expect((await planRestore(app.context, to)).chain).toHaveLength(2)
    const result = await restore(app.context, app.journal, to)
    expect(result).toMatchObject({ command: 'restore', previous: null, undo: null, target: beside(app) })
    expect(result.checks.map(({ status }) => status)).toEqual(['ok', 'ok'])
    expect(readFileSync(beside(app)).equals(before)).toBe(true)
    await expect(restore(app.context, app.journal, to)).rejects.toMatchObject({
      kind: 'refused',
      code: 'target_exists',
    })
  })

  it('keeps what --force replaces', async () => {
    const app = await application()
    await app.create()
    writeFileSync(beside(app), 'something that is no database')
    const to = request(app, { kind: 'path', path: beside(app), force: true })
    const result = await restore(app.context, app.journal, to)
    expect(readFileSync(result.previous ?? '', 'utf8')).toBe('something that is no database')
    expect(result.undo).toBe(`nexus-backup restore app --rollback --to ${beside(app)}`)
    expect(stateOf(beside(app))).toEqual(expectedState(0))
    const source = { kind: 'path', name: 'app', path: beside(app), repository: '' } as const
    expect(await planRollback(app.context, { source, dryRun: true })).toMatchObject({ in_place: false, replaces: true })
    const back = await rollback(app.context, app.journal, { source, dryRun: false })
    expect(readFileSync(beside(app), 'utf8')).toBe('something that is no database')
    expect([back.checks, back.undo]).toEqual([[], result.undo])
    await rollback(app.context, app.journal, { source, dryRun: false })
    expect(stateOf(beside(app))).toEqual(expectedState(0))
  })

  it('chooses by time, never a capture after it', async () => {
    const app = await application()
    const [first] = (await app.create()).backups
    await changeDatabase(app.source.path, 1)
    const [second] = (await app.create()).backups
    const at = new Date(Date.parse(second?.captured_at ?? '') - 1)
    const to = { ...request(app, { kind: 'path', path: beside(app), force: false }), at }
    expect((await planRestore(app.context, to)).id).toBe(first?.id)
    const early = { ...to, at: new Date(0) }
    await expect(planRestore(app.context, early)).rejects.toMatchObject({ kind: 'not-found' })
  })

  it('names a directory that is not there and a target that is no file', async () => {
    const app = await application()
    await app.create()
    const nowhere = request(app, { kind: 'path', path: join(beside(app), 'x.db'), force: false })
    await expect(planRestore(app.context, nowhere)).rejects.toMatchObject({ code: 'target_directory_missing' })
    const directory = request(app, { kind: 'path', path: dirname(app.source.path), force: true })
    await expect(planRestore(app.context, directory)).rejects.toMatchObject({ code: 'target_not_a_file' })
  })
})

describe('restore in place', () => {
  it('folds the old log into what it sets aside, and a rollback brings exactly that back', async () => {
    const app = await application()
    await app.create()
    await crashAfterCommit(app.source.path, 2)
    const inPlace = request(app, { kind: 'in-place', source: app.source })
    const result = await restore(app.context, app.journal, inPlace)
    expect(stateOf(app.source.path)).toEqual(expectedState(0))
    expect(stateOf(result.previous ?? '')).toEqual(expectedState(2))
    const aside = readFileSync(result.previous ?? '')
    const plan = await planRollback(app.context, { source: app.source, dryRun: false })
    const back = await rollback(app.context, app.journal, {
      source: app.source,
      dryRun: false,
      previous: plan.previous ?? null,
    })
    expect(back.previous).toBe(plan.previous)
    expect(readFileSync(app.source.path).equals(aside)).toBe(true)
    expect(app.journal.heard.slice(1)).toEqual(['restore done', 'rollback done'])
  })

  it('keeps the mode of the file that it replaces', async () => {
    const app = await application()
    await app.create()
    const { mode } = statSync(app.source.path)
    await restore(app.context, app.journal, request(app, { kind: 'in-place', source: app.source }))
    expect(statSync(app.source.path).mode).toBe(mode)
  })

  it('replaces a database that nobody can open, its sidecars kept with it, and back', async () => {
    const app = await application()
    await app.create()
    writeFileSync(app.source.path, Buffer.alloc(8192, 7))
    writeFileSync(`${app.source.path}-wal`, 'a log of something')
    const result = await restore(app.context, app.journal, request(app, { kind: 'in-place', source: app.source }))
    expect(stateOf(app.source.path)).toEqual(expectedState(0))
    expect(readFileSync(`${result.previous}-wal`, 'utf8')).toBe('a log of something')
    await rollback(app.context, app.journal, { source: app.source, dryRun: false })
    expect(readFileSync(app.source.path).equals(Buffer.alloc(8192, 7))).toBe(true)
    expect(readFileSync(`${app.source.path}-wal`, 'utf8')).toBe('a log of something')
  })

  it('is refused while somebody has the database open, and leaves nothing behind', async () => {
    const app = await application()
    await app.create()
    await holdOpen(app.source.path)
    const inPlace = request(app, { kind: 'in-place', source: app.source })
    await expect(restore(app.context, app.journal, inPlace)).rejects.toMatchObject({ code: 'database_in_use' })
    expect(readRecord(app.source.path)).toBeNull()
    expect(app.journal.heard.at(-1)).toBe('restore refused')
  })

  it('has nothing to roll back before the first restore', async () => {
    const app = await application()
    const nothing = planRollback(app.context, { source: app.source, dryRun: true })
    await expect(nothing).rejects.toMatchObject({ kind: 'not-found', code: 'nothing_to_roll_back' })
  })
})

describe('what a killed restore leaves', () => {
  const dead = { format: 1 as const, pid: 2 ** 22 - 1, started: 'never', service: null }

  it('is undone when nothing had been replaced yet', async () => {
    const app = await application()
    const [staged, previous] = [`${app.source.path}.staged`, `${app.source.path}.before-restore-20251201T000000.000Z`]
    writeFileSync(staged, 'half')
    await createRecord({ ...dead, target: app.source.path, staged, scratch: true, previous, swap: null })
    expect(await finishInterruptedDatabaseRestore(app.context, app.source)).toBe('undone')
    expect([existsSync(staged), readRecord(app.source.path)]).toEqual([false, null])
    expect(stateOf(app.source.path)).toEqual(expectedState(0))
    expect(app.warnings.join()).toContain('is as it was')
  })

  it('is finished when the replacement had begun', async () => {
    const app = await application()
    const [staged, previous] = [`${app.source.path}.staged`, `${app.source.path}.before-restore-20251201T000000.000Z`]
    writeFileSync(staged, 'the proven new one')
    const swap = { moves: [{ from: staged, to: app.source.path }], remove: [] }
    await createRecord({ ...dead, target: app.source.path, staged, scratch: true, previous, swap })
    expect(await finishInterruptedDatabaseRestore(app.context, app.source)).toBe('finished')
    expect(readFileSync(app.source.path, 'utf8')).toBe('the proven new one')
  })

  it('is left alone while that restore lives', async () => {
    const app = await application()
    const { thisProcess } = await import('../../src/operations/restoring-process.js')
    const living = { ...dead, ...thisProcess() }
    const [staged, previous] = [`${app.source.path}.staged`, `${app.source.path}.before-restore-20251201T000000.000Z`]
    await createRecord({ ...living, target: app.source.path, staged, scratch: true, previous, swap: null })
    await expect(finishInterruptedDatabaseRestore(app.context, app.source)).rejects.toMatchObject({ kind: 'locked' })
  })
})
