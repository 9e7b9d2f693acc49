import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Context } from '../../../src/context.js'
import { create } from '../../../src/operations/create.js'
import { prune } from '../../../src/operations/prune.js'
import type { CreateRequest } from '../../../src/operations/requests.js'
import { verify } from '../../../src/operations/verify.js'
import { formatClaim } from '../../../src/repository/claim.js'
import type { Claim } from '../../../src/repository/types.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { type Application, application } from '../application.js'
import { accessWith, encryptedApplication, keyFile, requestFor } from '../sealing/encrypted.js'
import { listed } from './bench.js'

/** Puts another claim in the place of a source's, as somebody does who knows the format. */
function claimFor({ source, context }: Application, change: Partial<Claim>): void {
  const mine: Claim = { kind: 'sqlite', host: context.host, path: source.path, system_identifier: null }
  const path = join(source.repository.path, 'app', 'source.json')
  writeFileSync(path, formatClaim({ ...mine, ...change }, new Date('2030-01-01T00:00:00Z'), []))
}

function pruned(app: Application, host: string, kind: 'sqlite' | 'files' | undefined = 'sqlite') {
  const { name, repository } = app.source
  const chosen = { name, repository, keep: { last: 1 }, ...(kind === undefined ? {} : { kind }) }
  return prune({ ...app.context, host, keys: accessWith() }, app.journal, { sources: [chosen], dryRun: false })
}

async function problemsOf(app: Application) {
  const { repository } = app.source
  const request = { repositories: [repository], sources: [], targets: ['app'], drill: false }
  const { results } = await verify(app.context, app.journal, request)
  return results.flatMap(({ findings }) => findings.filter(({ part }) => part === 'source.json'))
}

describe('a claim that somebody has put in the place of a source’s', () => {
  it('leads no policy of another machine to backups that say themselves whose they are, and verify tells', async () => {
    const app = await encryptedApplication([keyFile()])
    await app.create({ type: 'full' })
    await app.create({ type: 'full' })
    expect(await problemsOf(app)).toEqual([])
    claimFor(app, { host: 'other' })
    await expect(pruned(app, 'other')).rejects.toMatchObject({ kind: 'refused', code: 'source_claimed' })
    claimFor(app, { kind: 'files' })
    await expect(pruned(app, app.context.host, 'files')).rejects.toMatchObject({ code: 'source_claimed' })
    expect((await listed(app)).ours).toHaveLength(2)
    expect(await problemsOf(app)).toEqual([
      {
        part: 'source.json',
        problem: expect.stringContaining('it was changed, or create --adopt has made no backup yet'),
      },
    ])
    // By name the operator prunes for whomever it is, and on its own machine the policy is for its backups as before.
    claimFor(app, {})
    expect((await pruned(app, app.context.host)).delete).toHaveLength(1)
  })

  it('is what it says where nothing is signed', async () => {
    const app = await application()
    await app.create({ type: 'full' })
    claimFor(app, { host: 'other' })
    expect(await problemsOf(app)).toEqual([])
    expect((await pruned(app, 'other')).failures ?? []).toEqual([])
  })

  it('of a machine that takes the place of another agrees again with its first backup', async () => {
    const app = await encryptedApplication([keyFile()])
    await app.create({ type: 'full' })
    const moved = { ...app.context, host: 'other' }
    const { failures } = await create(moved, app.journal, requestFor(app.source, { adopt: true }))
    expect(failures).toEqual([])
    expect(await problemsOf(app)).toEqual([])
    expect((await pruned(app, 'other')).delete).toHaveLength(1)
  })
})

/** How a create ends: `full`, `incr`, or the code of the refusal and what it says. */
async function created(app: Application, context: Context, wishes: Partial<CreateRequest> = {}) {
  const { backups, failures } = await create(context, app.journal, requestFor(app.source, wishes))
  return failures[0] ?? backups[0]?.type
}

describe('create, where somebody has put another claim', () => {
  const moved = (app: Application) => ({ ...app.context, host: 'other' })

  it.each([
    ['another host', { host: 'other' }],
    ['another kind', { kind: 'files' as const }],
    ['a cluster', { kind: 'postgres' as const, path: null, system_identifier: '7432109876543210987' }],
  ])('of %s, says that it was changed, and goes on when told to', async (_, change) => {
    const app = await encryptedApplication([keyFile()])
    await app.create({ type: 'full' })
    claimFor(app, change)
    expect(await created(app, app.context)).toMatchObject({
      code: 'claim_forged',
      message: expect.stringMatching(/is of sqlite .* on host "db1": it was changed$/),
      hint: expect.stringContaining('nexus-backup create app --adopt'),
    })
    expect((await listed(app)).ours).toHaveLength(1)
    expect(await created(app, app.context, { adopt: true })).toBe('full')
    expect(await created(app, app.context)).toBe('incr')
    expect(await problemsOf(app)).toEqual([])
  })

  it('of another path for the same file, says that it was changed or the file was moved', async () => {
    const app = await encryptedApplication([keyFile()])
    await app.create({ type: 'full' })
    claimFor(app, { path: '/elsewhere/app.db' })
    expect(await created(app, app.context)).toMatchObject({
      code: 'source_claimed',
      message: expect.stringMatching(/is of this very file: it was moved, or source.json was changed$/),
    })
    expect(await created(app, app.context, { adopt: true })).toBe('full')
    expect(await created(app, app.context)).toBe('incr')
  })

  it('that lets another machine in, lets it not', async () => {
    const app = await encryptedApplication([keyFile()])
    await app.create({ type: 'full' })
    claimFor(app, { host: 'other' })
    expect(await created(app, moved(app))).toMatchObject({
      code: 'source_claimed',
      hint: expect.stringContaining('--adopt'),
    })
    expect((await listed(app)).ours).toHaveLength(1)
    // Nothing of the other machine's is built on, though the claim was its own already.
    expect(await created(app, moved(app), { adopt: true })).toBe('full')
    expect(await created(app, moved(app))).toBe('incr')
  })

  it('believes what this host has signed itself, also before anybody vouches for it', async () => {
    const app = await encryptedApplication([keyFile()])
    await app.create({ type: 'full' })
    const stranger = { ...moved(app), keys: accessWith(), stateDirectory: join(temporaryDirectory(), 'state') }
    expect(await created(app, stranger, { adopt: true })).toBe('full')
    expect(await created(app, stranger)).toBe('full')
  })

  it('believes it where nothing is signed', async () => {
    const app = await application()
    await app.create({ type: 'full' })
    claimFor(app, { host: 'other' })
    expect(await created(app, app.context)).toMatchObject({ code: 'source_claimed' })
    expect(await created(app, moved(app))).toBe('incr')
  })
})
