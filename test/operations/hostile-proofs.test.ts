import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { list } from '../../src/operations/list.js'
import type { VerifyRequest } from '../../src/operations/requests.js'
import { restore } from '../../src/operations/restore.js'
import { verify } from '../../src/operations/verify.js'
import { openRepository } from '../../src/repository/open.js'
import { type Application, application } from './application.js'

const proofs = (app: Application) => join(app.source.repository.path, 'app/proofs')

/** Restores the latest beside the database. */
function restored(app: Application, backup = 'app') {
  const path = join(dirname(app.source.path), `restored-${readdirSync(dirname(app.source.path)).length}.db`)
  const target = { kind: 'path', path, force: false } as const
  const repositories = [app.source.repository]
  const request = { repositories, backup, target, source: app.source, at: undefined, dryRun: false }
  return restore(app.context, app.journal, request)
}

function verifyRequest({ source }: Application): VerifyRequest {
  return { repositories: [source.repository], sources: [source], targets: [], drill: false }
}

/** A proof that says a backup is damaged, as a writer of this program's own would make it. */
async function damagedAt(app: Application, id: string, at: string): Promise<void> {
  const repository = await openRepository(app.source.repository)
  const findings = [{ part: 'x', problem: 'y' }]
  await repository.source('app').addProof({ id, at, status: 'damaged', level: 'stored', findings })
}

describe('small files that somebody put among the proofs', () => {
  const contents = ['{', '', '{"format":1}\n', '\u0000\u00ff', ' '.repeat(5e6)]

  it('keep nobody from restoring or backing up, are said, and a verify clears them', async () => {
    const app = await application()
    const id = (await app.create()).backups[0]?.id ?? ''
    mkdirSync(proofs(app), { recursive: true })
    for (const [day, content] of contents.entries()) {
      writeFileSync(join(proofs(app), `${id}-2025110${day + 1}T000000.000Z.json`), content)
    }
    expect(await restored(app)).toMatchObject({ id })
    expect((await app.create()).failures).toEqual([])
    expect(app.warnings.filter(text => text.includes('counts for nothing'))).toHaveLength(3)
    expect(app.warnings.join()).toContain('and 2 more proofs that cannot be read')
    const { context } = app
    const request = { repositories: [app.source.repository], source: 'app', all: false }
    expect(await list(context, request)).toMatchObject({ backups: [{ id }, {}], problems: [] })
    const { results } = await verify(context, app.journal, verifyRequest(app))
    expect(results.map(({ status }) => status)).toEqual(['ok', 'ok'])
    app.warnings.length = 0
    expect((await list(context, request)).backups.map(({ proven }) => proven)).toEqual([true, true])
    expect(app.warnings).toEqual([])
    expect(readdirSync(proofs(app))).toHaveLength(2)
  })

  it('cost a restore by id no look at the proofs of other backups and sources', async () => {
    const app = await application()
    const id = (await app.create({ type: 'full' })).backups[0]?.id ?? ''
    const next = (await app.create({ type: 'full' })).backups[0]?.id ?? ''
    const beside: Application = { ...app, source: { ...app.source, name: 'beside' } }
    await app.create({ sources: [beside.source] })
    await verify(app.context, app.journal, { ...verifyRequest(app), targets: ['app', 'beside'] })
    for (const name of ['app', 'beside']) {
      const directory = join(app.source.repository.path, name, 'proofs')
      for (const file of readdirSync(directory)) if (!file.startsWith(id)) writeFileSync(join(directory, file), '{')
    }
    expect(await restored(app, id)).toMatchObject({ id })
    expect(app.warnings).toEqual([])
    expect(await restored(app, next)).toMatchObject({ id: next })
    expect(app.warnings).toEqual([expect.stringContaining(`nexus-backup verify app`)])
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
    const { results } = await verify(app.context, app.journal, verifyRequest(app))
    expect(results.map(({ status }) => status)).toEqual(['ok'])
    const repositories = [app.source.repository]
    const listed = await list(app.context, { repositories, source: 'app', all: false })
    expect(listed).toMatchObject({ backups: [{ id, proven: true }], problems: [] })
    expect(readdirSync(proofs(app))).toEqual([expect.stringContaining(`${id}-20251201T`)])
    rmSync(proofs(app), { recursive: true })
    expect(await restored(app)).toMatchObject({ id })
  })
})
