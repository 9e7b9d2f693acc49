import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { list } from '../../src/operations/list.js'
import { restore } from '../../src/operations/restore.js'
import { verify } from '../../src/operations/verify.js'
import { openRepository } from '../../src/repository/open.js'
import { type Application, application } from './application.js'

const proofs = (app: Application) => join(app.source.repository.path, 'app/proofs')

/** Restores the latest beside the database. */
function restored(app: Application) {
  const path = join(dirname(app.source.path), `restored-${readdirSync(dirname(app.source.path)).length}.db`)
  const target = { kind: 'path', path, force: false } as const
  const repositories = [app.source.repository]
  const request = { repositories, backup: 'app', target, source: app.source, at: undefined, dryRun: false }
  return restore(app.context, app.journal, request)
}

/** A proof that says a backup is damaged, as a writer of this program's own would make it. */
async function damagedAt(app: Application, id: string, at: string): Promise<void> {
  const repository = await openRepository(app.source.repository)
  const findings = [{ part: 'x', problem: 'y' }]
  await repository.source('app').addProof({ id, at, status: 'damaged', level: 'stored', findings })
}

describe('small files that somebody put among the proofs', () => {
  it.each([
    ['garbage', '{'],
    ['nothing', ''],
    ['another document', '{"format":1}\n'],
    ['bytes', '\u0000\u00ff'],
  ])('keep nobody from restoring or backing up, and are said: %s', async (_, content) => {
    const app = await application()
    const id = (await app.create()).backups[0]?.id ?? ''
    mkdirSync(proofs(app), { recursive: true })
    writeFileSync(join(proofs(app), `${id}-20251105T000000.000Z.json`), content)
    expect(await restored(app)).toMatchObject({ id })
    expect((await app.create()).failures).toEqual([])
    expect(app.warnings.join()).toContain('is damaged')
    const { context } = app
    const listed = await list(context, { repositories: [app.source.repository], source: 'app', all: false })
    expect(listed.backups).toHaveLength(2)
    expect(listed.problems).toMatchObject([{ id: 'proofs', status: 'damaged' }])
  })

  it('leave what the other proofs say: a backup that a verify found damaged stays so', async () => {
    const app = await application()
    const id = (await app.create()).backups[0]?.id ?? ''
    await damagedAt(app, id, '2025-12-01T00:00:00.000Z')
    writeFileSync(join(proofs(app), `${id}-20251105T000000.000Z.json`), '{')
    await expect(restored(app)).rejects.toMatchObject({ kind: 'damage' })
  })

  it('of a time to come count for nothing, and a verify that passes is not overruled by them', async () => {
    const app = await application()
    const id = (await app.create()).backups[0]?.id ?? ''
    await damagedAt(app, id, '2099-01-01T00:00:00.000Z')
    expect(await restored(app)).toMatchObject({ id })
    expect(app.warnings.join()).toContain('1 proof is of a time to come and does not count')
    const request = { repositories: [app.source.repository], sources: [app.source], targets: [], drill: false }
    expect((await verify(app.context, app.journal, request)).results.map(({ status }) => status)).toEqual(['ok'])
    const repositories = [app.source.repository]
    const listed = await list(app.context, { repositories, source: 'app', all: false })
    expect(listed).toMatchObject({ backups: [{ id, proven: true }], problems: [] })
    rmSync(proofs(app), { recursive: true })
    expect(await restored(app)).toMatchObject({ id })
  })
})
