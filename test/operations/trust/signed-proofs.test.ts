import { copyFileSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Context } from '../../../src/context.js'
import { trustHost } from '../../../src/operations/keys/trust-host.js'
import { hostSigner } from '../../../src/operations/sealing/host-keys.js'
import { verify } from '../../../src/operations/verify.js'
import type { Proof } from '../../../src/repository/types.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import type { Application } from '../application.js'
import { encryptedApplication, keyFile } from '../sealing/encrypted.js'
import { forge, intruderOf, listed, opened, restored } from './bench.js'

const later = '2025-12-01T06:00:00.000Z'

/** The increment is one into which nobody has looked: only a proof can prove it. */
async function owner(): Promise<{ app: Application; full: string; incr: string; files(): string[] }> {
  const app = await encryptedApplication([keyFile()], { database: { rows: 3, pageSize: 512 } })
  const full = (await app.create({ type: 'full' })).backups[0]?.id ?? ''
  const incr = (await app.create({ type: 'incr', check: 'none' })).backups[0]?.id ?? ''
  return { app, full, incr, files: () => readdirSync(join(app.source.repository.path, 'app', 'proofs')).sort() }
}

/** Drills both backups; their statuses by id. */
async function drilled({ context, journal, source }: Application): Promise<Record<string, string>> {
  const { results } = await verify(context, journal, {
    repositories: [source.repository],
    sources: [source],
    targets: readdirSync(join(source.repository.path, 'app')).filter(name => /^2025\d{4}T/.test(name)),
    drill: true,
  })
  return Object.fromEntries(results.map(({ id, status }) => [id, status]))
}

/** The same host some hours later. */
function hoursLater(app: Application): Application {
  return { ...app, context: { ...app.context, now: () => new Date('2025-12-01T12:00:00Z') } }
}

const claims = (id: string, status: Proof['status']): Proof => {
  return { id, at: later, status, level: 'drill', findings: [] }
}

/** Writes a proof with the signature of a host of its own, as this very program does. */
async function signedBy(context: Context, app: Application, proof: Proof): Promise<void> {
  const repository = await opened(app)
  const signer = await hostSigner(context)
  const trust = { repository: repository.id, source: 'app', isRequired: () => true, keyOf: async () => undefined }
  const now = new Date('2025-12-01T12:00:00Z')
  await repository.source('app').keepProofs([proof], { now, trust, signer: async () => signer })
}

describe('proofs in an encrypted repository', () => {
  it('are signed by the host that verifies, and prove', async () => {
    const { app, full, incr, files } = await owner()
    expect(await drilled(app)).toEqual({ [full]: 'ok', [incr]: 'ok' })
    expect(files()).toHaveLength(2)
    const { id } = await hostSigner(app.context)
    for (const name of files()) {
      const document = JSON.parse(readFileSync(join(app.source.repository.path, 'app', 'proofs', name), 'utf8'))
      expect(document).toMatchObject({ signer: id, signature: expect.stringMatching(/^[A-Za-z0-9+/]{86}==$/) })
    }
    expect(await listed(app)).toMatchObject({ proven: [full, incr], problems: [] })
    expect(app.warnings).toEqual([])
    // Also for somebody who has never been here before.
    const bare = { ...app.context, stateDirectory: join(temporaryDirectory(), 'bare') }
    expect(await listed(app, bare)).toMatchObject({ proven: [full, incr] })
  })

  it('that nobody has signed neither prove nor damn, and verify puts signed ones in their place', async () => {
    const { app, full, incr, files } = await owner()
    const room = (await opened(app)).source('app')
    await room.addProof(claims(full, 'damaged'))
    await room.addProof(claims(incr, 'ok'))
    const after = hoursLater(app)
    expect(await listed(after)).toMatchObject({ ours: [full, incr], proven: [full], problems: [] })
    expect(await restored(after, 'app')).toMatchObject({ id: incr })
    expect(app.warnings).toEqual([
      expect.stringMatching(
        /proofs of 2 backups are not signed .* renew them with: nexus-backup verify app --repo \S+$/,
      ),
    ])
    expect(await drilled(after)).toEqual({ [full]: 'ok', [incr]: 'ok' })
    app.warnings.length = 0
    expect(await listed(after)).toMatchObject({ proven: [full, incr] })
    expect(app.warnings).toEqual([])
    expect(files()).toHaveLength(2)
  })

  it('that a stranger has signed count for nothing, and hide nothing', async () => {
    const { app, full, incr } = await owner()
    await drilled(app)
    const intruder = intruderOf(app)
    await forge(app, intruder)
    for (const status of ['damaged', 'source-damaged'] as const) await signedBy(intruder, app, claims(full, status))
    expect(await listed(hoursLater(app))).toMatchObject({ proven: [full, incr], problems: [] })
    expect(await restored(hoursLater(app), full)).toMatchObject({ id: full })
  })

  it('count only where they were written: neither in another source nor after a change', async () => {
    const { app, full, incr } = await owner()
    const genuine = await opened(app)
    const signer = await hostSigner(app.context)
    const now = new Date('2025-12-01T12:00:00Z')
    for (const place of [
      { repository: genuine.id, source: 'elsewhere' },
      { repository: '3f0e0cf6-0a93-4c0b-8f0b-3d1f1d2b6a55', source: 'app' },
    ]) {
      const trust = { ...place, isRequired: () => true, keyOf: async () => undefined }
      const shelf = { ...genuine, id: place.repository }
      const { keepProofs } = await import('../../../src/repository/proof-keeping.js')
      const from = { storage: shelf.storage, files: shelf.storage, ...place, source: 'elsewhere' }
      await keepProofs(from, [claims(incr, 'ok')], { now, trust, signer: async () => signer })
    }
    const { path } = app.source.repository
    mkdirSync(join(path, 'app', 'proofs'), { recursive: true })
    for (const name of readdirSync(join(path, 'elsewhere', 'proofs'))) {
      copyFileSync(join(path, 'elsewhere', 'proofs', name), join(path, 'app', 'proofs', name))
    }
    expect(await listed(hoursLater(app))).toMatchObject({ proven: [full] })
    expect(app.warnings.join()).toContain('not signed by a host')
  })

  it('are not kept by a host for which the keys do not vouch, which says how it is let in', async () => {
    const { app, full, incr, files } = await owner()
    const stateDirectory = join(temporaryDirectory(), 'state')
    const second: Application = { ...app, context: { ...app.context, stateDirectory } }
    await drilled(app)
    const before = files()
    expect(await drilled(second)).toEqual({ [full]: 'ok', [incr]: 'ok' })
    expect(files()).toEqual(before)
    const [warning = ''] = app.warnings
    const [, id = ''] = /nexus-backup keys trust ([0-9a-f]+) --repo /.exec(warning) ?? []
    const { repository } = app.source
    await trustHost(app.context, app.journal, { repository, id, dryRun: false })
    app.warnings.length = 0
    expect(await drilled(second)).toEqual({ [full]: 'ok', [incr]: 'ok' })
    expect(files()).not.toEqual(before)
    expect(await listed(app)).toMatchObject({ proven: [full, incr] })
    expect(app.warnings).toEqual([])
  })

  it('of a drill are signed as well, and tell neither queries nor results', async () => {
    const { app, full, files } = await owner()
    const request = { repositories: [app.source.repository], sources: [app.source], targets: [full], drill: true }
    expect((await verify(app.context, app.journal, request)).results).toMatchObject([{ status: 'ok', level: 'drill' }])
    expect(files()).toHaveLength(1)
    const text = readFileSync(join(app.source.repository.path, 'app', 'proofs', files()[0] ?? ''), 'utf8')
    expect(JSON.parse(text)).toMatchObject({ level: 'drill', drill: { restore_ms: expect.any(Number) } })
    expect(text).not.toContain('SELECT')
  })
})
