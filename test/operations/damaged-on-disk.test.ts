import { closeSync, openSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { list } from '../../src/operations/list.js'
import type { CheckLevel, RestoreRequest } from '../../src/operations/requests.js'
import { restore } from '../../src/operations/restore.js'
import { verify } from '../../src/operations/verify.js'
import { changeDatabase } from '../end-to-end/helpers/database.js'
import { type Application, application } from './application.js'

const PAGE = 4096

/** A database whose pages are written over on the disk, as `dd` or a failing disk does, between its backups. */
async function withDamage(): Promise<Application> {
  const app = await application({ checks: [], database: { rows: 4000, pageSize: PAGE } })
  await app.create()
  return app
}

function damagePages({ source }: Application, pages: number): void {
  const fd = openSync(source.path, 'r+')
  const count = Math.floor(statSync(source.path).size / PAGE)
  try {
    for (let page = 0; page < pages; page += 1) {
      // The schema's page stays: the application goes on without a word.
      writeSync(fd, Buffer.alloc(PAGE, 0x5a), 0, PAGE, (2 + ((page * 7) % (count - 2))) * PAGE)
    }
  } finally {
    closeSync(fd)
  }
}

async function make(app: Application, check?: CheckLevel) {
  const { backups, failures } = await app.create({ check })
  return { id: backups[0]?.id ?? '', code: failures[0]?.code }
}

async function proven(app: Application): Promise<boolean[]> {
  const { backups } = await list(app.context, {
    repositories: [app.source.repository],
    source: 'app',
    all: false,
  })
  return backups.map(backup => backup.proven)
}

async function verified(app: Application, drill: boolean, targets: string[] = []) {
  const repositories = [app.source.repository]
  const { results } = await verify(app.context, app.journal, { repositories, sources: [app.source], targets, drill })
  return results.map(({ status }) => status)
}

function restored(app: Application, backup: string, wishes: Partial<RestoreRequest> = {}) {
  const path = join(app.context.stateDirectory, `restored-${Math.random()}.db`)
  const repositories = [app.source.repository]
  const target = { kind: 'path', path, force: false } as const
  const request = { repositories, backup, at: undefined, target, source: app.source, dryRun: false }
  return restore(app.context, app.journal, { ...request, ...wishes })
}

const inPlace = ({ source }: Application) => ({ target: { kind: 'in-place', source } as const })

it('is found by the check of the next increment, which is not kept', async () => {
  const app = await withDamage()
  damagePages(app, 20)
  expect((await make(app)).code).toBe('source_damaged')
  expect(await proven(app)).toEqual([true])
})

it('in increments that nobody looked into is proven by no verify, in whatever order it is looked for', async () => {
  const app = await withDamage()
  damagePages(app, 20)
  const { id } = await make(app, 'none')
  expect(await verified(app, false)).toEqual(['ok', 'ok'])
  expect(await proven(app)).toEqual([true, false])
  expect(await verified(app, true, [id])).toContain('source-damaged')
  // A verify compares bytes, and takes nothing back that a drill saw.
  await verified(app, false)
  expect(await proven(app)).toEqual([true, false])
  const full = (await list(app.context, { repositories: [app.source.repository], source: 'app', all: false }))
    .backups[0]
  await expect(restored(app, id, inPlace(app))).rejects.toMatchObject({
    code: 'restored_damaged',
    hint: expect.stringContaining(`can be restored is ${full?.id}`),
  })
  expect((await restored(app, full?.id ?? '', inPlace(app))).checks).toMatchObject([{ status: 'ok' }])
})

it('that a restore finds is remembered, said at the next one, and taken back by no verify', async () => {
  const app = await withDamage()
  damagePages(app, 20)
  const { id } = await make(app, 'none')
  await expect(restored(app, id, inPlace(app))).rejects.toMatchObject({ code: 'restored_damaged' })
  await verified(app, false)
  expect(await proven(app)).toEqual([true, false])
  app.warnings.length = 0
  expect((await restored(app, id)).checks).toMatchObject([{ status: 'failed' }])
  expect(app.warnings.join('\n')).toContain('found that content wrong')
})

it('is no reason against an unchecked increment of a sound database once a restore has looked into it', async () => {
  const app = await withDamage()
  await changeDatabase(app.source.path, 1)
  const { id } = await make(app, 'none')
  expect(await proven(app)).toEqual([true, false])
  expect((await restored(app, id)).checks).toMatchObject([{ status: 'ok' }])
  expect(await proven(app)).toEqual([true, true])
})
