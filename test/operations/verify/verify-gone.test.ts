import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Context } from '../../../src/context.js'
import { trustHost } from '../../../src/operations/keys/trust-host.js'
import { prune } from '../../../src/operations/prune.js'
import { hostSigner } from '../../../src/operations/sealing/host-keys.js'
import { planVerify } from '../../../src/operations/verify/verify-plan.js'
import { verifyRoom } from '../../../src/operations/verify/verify-room.js'
import { verify } from '../../../src/operations/verify.js'
import { openRepository } from '../../../src/repository/open.js'
import { readPruneRecord } from '../../../src/repository/prune-record.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import type { Application } from '../application.js'
import { accessWith, encryptedApplication, keyFile } from '../sealing/encrypted.js'
import { listed, verified } from '../trust/bench.js'

/** Three fulls in an encrypted repository, all of which this host remembers. */
async function threeFulls() {
  const key = keyFile()
  const app = await encryptedApplication([key], { database: { rows: 3, pageSize: 512 } })
  const ids: string[] = []
  for (let n = 0; n < 3; n += 1) ids.push((await app.create({ type: 'full' })).backups[0]?.id ?? '')
  const [one = '', two = '', three = ''] = ids
  return { app, key, one, two, three, path: join(app.source.repository.path, 'app') }
}

/** Another host of the same repository. */
function otherHost(app: Application): Context {
  return { ...app.context, host: 'db2', keys: accessWith(), stateDirectory: join(temporaryDirectory(), 'state') }
}

async function trusted(app: Application, other: Context, key: ReturnType<typeof keyFile>): Promise<void> {
  const { id } = await hostSigner(other)
  const { repository } = app.source
  await trustHost({ ...app.context, keys: accessWith(key) }, app.journal, { repository, id, dryRun: false })
}

function pruneAs(app: Application, context: Context, last: number) {
  const { name, repository } = app.source
  return prune(context, app.journal, { sources: [{ name, repository, keep: { last } }], dryRun: false })
}

const records = (path: string) => readdirSync(path).filter(name => name.startsWith('.pruned-'))

/** What was found wrong with each backup. */
async function problems(app: Application): Promise<Record<string, string>> {
  const request = { repositories: [app.source.repository], sources: [], targets: [], drill: false }
  const { results } = await verify(app.context, app.journal, request)
  return Object.fromEntries(
    results.flatMap(({ id, status, findings }) =>
      status === 'ok' ? [] : [[id, findings.map(({ problem }) => problem).join()]],
    ),
  )
}

describe('a backup that is gone', () => {
  it('is not missed when another host that is vouched for pruned it', async () => {
    const { app, key, one, two, three, path } = await threeFulls()
    const other = otherHost(app)
    // As its first create would: the key must be known before anybody can vouch for it.
    await pruneAs(app, other, 2)
    await trusted(app, other, key)
    app.warnings.length = 0
    await pruneAs(app, other, 1)
    expect(records(path)).toHaveLength(1)
    expect(await problems(app)).toEqual({})
    expect(app.warnings).toEqual([])
    expect((await listed(app)).ours).toEqual([three])
    expect([one, two].map(id => readdirSync(path).includes(id))).toEqual([false, false])
  })

  it('is missed, with the command that settles it, when a host that nobody vouches for pruned it', async () => {
    const { app, one } = await threeFulls()
    const other = otherHost(app)
    const { id } = await hostSigner(other)
    await pruneAs(app, other, 2)
    expect(app.warnings.join()).toContain(`nexus-backup keys trust ${id} --repo ${app.source.repository.path}`)
    const found = await problems(app)
    expect(Object.keys(found)).toEqual([one])
    expect(found[one]).toContain(`nexus-backup keys trust ${id} --repo ${app.source.repository.path}`)
  })

  it('and was removed by somebody is damage at the next verify on the host that remembers it, once', async () => {
    const { app, one, two, three, path } = await threeFulls()
    rmSync(join(path, one), { recursive: true })
    expect(await problems(app)).toEqual({ [one]: expect.stringContaining('no prune is on record') })
    expect(await verified(app)).toEqual({ [two]: 'ok', [three]: 'ok' })
    // Nor do prunes before and after hide it.
    await pruneAs(app, app.context, 1)
    const four = (await app.create({ type: 'full' })).backups[0]?.id ?? ''
    rmSync(join(path, three), { recursive: true })
    await pruneAs(app, app.context, 1)
    expect(await problems(app)).toEqual({ [three]: expect.stringContaining('no prune is on record') })
    expect(await verified(app)).toEqual({ [four]: 'ok' })
  })

  it('is missed whatever record of a prune an intruder can make', async () => {
    const { app, one, two, path } = await threeFulls()
    const { id } = await hostSigner(app.context)
    await pruneAs(app, app.context, 2)
    const [record = ''] = records(path)
    const genuine = readFileSync(join(path, record), 'utf8')
    const elsewhere = await encryptedApplication([keyFile()], { database: { rows: 3, pageSize: 512 } })
    for (let n = 0; n < 2; n += 1) await elsewhere.create({ type: 'full' })
    await pruneAs(elsewhere, elsewhere.context, 1)
    const there = join(elsewhere.source.repository.path, 'app')
    const foreign = readFileSync(join(there, records(there)[0] ?? ''), 'utf8').replaceAll(
      /\d{8}T[\d.]*Z-full-\w{4}/g,
      two,
    )
    const forgeries = [
      genuine.replaceAll(one, two),
      foreign,
      foreign.replaceAll((await hostSigner(elsewhere.context)).id, id),
      'garbage',
    ]
    for (const [at, text] of forgeries.entries()) {
      writeFileSync(join(path, `.pruned-${at}123456789abcdef.json`), text)
      if (at > 0) continue
      writeFileSync(join(path, record), text)
    }
    rmSync(join(path, two), { recursive: true })
    expect(Object.keys(await problems(app))).toEqual([two])
  })

  it('while it is verified is a warning then, and damage at the next verify when nobody pruned it', async () => {
    const { app, one, path } = await threeFulls()
    const room = (await openRepository(app.source.repository)).source('app')
    const [plan] = await planVerify(app.context, [room], [])
    if (plan === undefined) throw new Error('nothing to verify')
    rmSync(join(path, one), { recursive: true })
    const results = await verifyRoom(app.context, plan, temporaryDirectory())
    expect(results.filter(({ status }) => status !== 'ok')).toEqual([])
    expect(app.warnings).toEqual([expect.stringContaining(`${one} is gone: it was removed while it was verified`)])
    expect(Object.keys(await problems(app))).toEqual([one])
  })

  it('is forgotten by the record of a prune that was killed before it came to it', async () => {
    const { app, one, two, path } = await threeFulls()
    const { removed, killed } = interruptedAfter(app)
    await expect(pruneAs(app, killed, 1)).rejects.toBeDefined()
    expect(removed()).toEqual([two])
    const pruned = () => JSON.parse(readFileSync(join(path, records(path)[0] ?? ''), 'utf8')).pruned.sort()
    expect(pruned()).toEqual([one, two])
    // The next one that removes anything takes out of the record what is still there.
    await pruneAs(app, app.context, 2)
    expect(readdirSync(path)).toContain(one)
    const record = await readPruneRecord((await openRepository(app.source.repository)).storage, {
      repository: (await openRepository(app.source.repository)).id,
      source: 'app',
      signer: (await hostSigner(app.context)).id,
    })
    expect(record?.pruned).toContain(two)
    expect(await problems(app)).toEqual({})
  })
})

/** A context whose run is ended after the first backup is removed. */
function interruptedAfter(app: Application) {
  const controller = new AbortController()
  const path = join(app.source.repository.path, 'app')
  const before = readdirSync(path)
  const removed = () => before.filter(name => /full/.test(name) && !readdirSync(path).includes(name))
  const progress = () => {
    if (removed().length > 0) controller.abort(new Error('killed'))
  }
  return { removed, killed: { ...app.context, progress, signal: controller.signal } }
}
