import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { prune } from '../../../src/operations/prune.js'
import { verify } from '../../../src/operations/verify.js'
import { formatClaim } from '../../../src/repository/claim.js'
import type { Claim } from '../../../src/repository/types.js'
import { type Application, application } from '../application.js'
import { accessWith, encryptedApplication, keyFile } from '../sealing/encrypted.js'
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
    const { create } = await import('../../../src/operations/create.js')
    const { requestFor } = await import('../sealing/encrypted.js')
    const { failures } = await create(moved, app.journal, requestFor(app.source, { adopt: true }))
    expect(failures).toEqual([])
    expect(await problemsOf(app)).toEqual([])
    expect((await pruned(app, 'other')).delete).toHaveLength(1)
  })
})
