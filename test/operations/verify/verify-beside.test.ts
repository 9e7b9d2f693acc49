import { readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Context } from '../../../src/context.js'
import { NexusError } from '../../../src/errors.js'
import { currentOrNone } from '../../../src/operations/keys/repository-keys.js'
import { rotateKeys } from '../../../src/operations/keys/rotate-keys.js'
import { changeKnown, readKnown } from '../../../src/operations/known-backups.js'
import { unlessPruned } from '../../../src/operations/pruned.js'
import { hostSigner, walIdentity } from '../../../src/operations/sealing/host-keys.js'
import { lostSources } from '../../../src/operations/verify/verify-known.js'
import { planVerify } from '../../../src/operations/verify/verify-plan.js'
import { verifyRoom } from '../../../src/operations/verify/verify-room.js'
import { verify } from '../../../src/operations/verify.js'
import { readEntries } from '../../../src/repository/entries.js'
import { readOwnEpochs, readRecipients } from '../../../src/repository/keys/key-room.js'
import { openRepository } from '../../../src/repository/open.js'
import { sourceRoom } from '../../../src/repository/source-room.js'
import type { Repository } from '../../../src/repository/types.js'
import { testContext } from '../../helpers/context.js'
import { once, pausedStorage } from '../../helpers/paused-storage.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { type Application, application } from '../application.js'
import { encryptedApplication, keyFile } from '../sealing/encrypted.js'

/** The same context; what it opens first waits until something else is done. */
function afterFirstKey(context: Context, work: () => Promise<unknown>): Context {
  const first = once(work)
  const keys = new Proxy(context.keys, {
    get(target, property) {
      const value = Reflect.get(target, property)
      if (property !== 'open') return typeof value === 'function' ? value.bind(target) : value
      return async (...args: Parameters<typeof target.open>) => {
        const opened = await target.open(...args)
        await first()
        return opened
      }
    },
  })
  return { ...context, keys }
}

const everything = ({ source: { repository } }: Application) => {
  return { repositories: [repository], sources: [], targets: [], drill: false }
}

/** A repository of which something happens after an exact answer. */
async function paused(app: Application, after: Parameters<typeof pausedStorage>[1]): Promise<Repository> {
  const opened = await openRepository(app.source.repository)
  const storage = pausedStorage(opened.storage, after)
  const repository: Repository = {
    ...opened,
    writable: true,
    storage,
    source: name => sourceRoom(repository, storage, name),
  }
  return repository
}

describe('verify', () => {
  it('calls nothing gone that a create commits while it reads', async () => {
    const app = await encryptedApplication([keyFile()])
    await app.create()
    const beside = afterFirstKey(app.context, () => app.create())
    const { results } = await verify(beside, app.journal, everything(app))
    expect(results.map(({ status, findings }) => ({ status, findings }))).toEqual([{ status: 'ok', findings: [] }])
    expect(
      Object.keys(await readKnown(app.context, (await openRepository(app.source.repository)).id, 'app')),
    ).toHaveLength(2)
    expect(app.warnings).toEqual([])
  })

  it('calls no source lost that gets its first backup while it lists them', async () => {
    const app = await encryptedApplication([keyFile()])
    await app.create()
    const repository = await openRepository(app.source.repository)
    const create = once(() => app.create({ sources: [{ ...app.source, name: 'other' }] }))
    const sources = async () => {
      const found = await repository.sources()
      await create()
      return found
    }
    expect(await lostSources(app.context, { ...repository, sources })).toEqual([])
    rmSync(join(app.source.repository.path, 'other'), { recursive: true })
    expect(await lostSources(app.context, repository)).toMatchObject([{ source: 'other', status: 'damaged' }])
  })

  it('misses no claim of a source whose first backup is only being made', async () => {
    const app = await application()
    await app.create()
    const repository = await openRepository(app.source.repository)
    // As between the directory and the claim in it.
    await (await repository.storage.begin('other/20251103T030000.123Z-full-7f3a')).discard()
    const { results } = await verify(app.context, app.journal, everything(app))
    expect(results.filter(({ status }) => status !== 'ok')).toEqual([])
    rmSync(join(app.source.repository.path, 'app', 'source.json'))
    const robbed = await verify(app.context, app.journal, everything(app))
    expect(robbed.results.filter(({ status }) => status !== 'ok')).toMatchObject([{ id: 'app' }])
  })

  it('calls no backup damaged that is removed between listing and reading', async () => {
    const app = await application()
    const [first] = (await app.create()).backups
    await app.create({ type: 'full' })
    const { path } = app.source.repository
    const remove = once(async () => renameSync(join(path, 'app', first?.id ?? ''), join(path, 'app', '.partial-gone')))
    const repository = await paused(app, async (_, name) => {
      if (/app\.db\.zst$|blocks\.idx$/.test(name)) await remove()
    })
    const [plan] = await planVerify(app.context, [repository.source('app')], [])
    if (plan === undefined) throw new Error('nothing to verify')
    const results = await verifyRoom(app.context, plan, temporaryDirectory())
    expect(results.map(({ status }) => status)).toEqual(['ok'])
    expect(app.warnings).toEqual([expect.stringContaining(`${first?.id} is gone`)])
  })
})

it('what is read of a backup that goes meanwhile is told as gone, not as damaged; what stays is as damaged as it is', async () => {
  const app = await application()
  const id = (await app.create()).backups[0]?.id ?? ''
  const room = (await openRepository(app.source.repository)).source('app')
  const damage = new NexusError('damage', 'part_missing', 'a part is missing')
  const reading = () => unlessPruned(room, [id], () => Promise.reject(damage))
  await expect(reading()).rejects.toBe(damage)
  renameSync(join(app.source.repository.path, 'app', id), join(app.source.repository.path, 'app', `.partial-${id}`))
  await expect(reading()).rejects.toMatchObject({
    kind: 'not-found',
    message: expect.stringContaining('pruned meanwhile'),
  })
})

describe('a listing', () => {
  it('shows neither what a prune takes away nor what a create brings while it is made as damaged', async () => {
    const app = await application()
    const ids: string[] = []
    for (let n = 0; n < 3; n += 1) ids.push((await app.create({ type: 'full' })).backups[0]?.id ?? '')
    const { path } = app.source.repository
    const at = (name: string) => join(path, 'app', name)
    // The second was listed as it was being written and is whole a moment later; the first goes.
    renameSync(at(`${ids[1]}/manifest.json`), at('.partial-manifest'))
    const storage = pausedStorage((await openRepository(path)).storage, async (_, name) => {
      if (name === `app/${ids[0]}/SHA256SUMS`) await pruned()
      if (name === `app/${ids[1]}/manifest.json`) await committed()
    })
    const pruned = once(async () => rmSync(at(ids[0] ?? ''), { recursive: true }))
    const committed = once(async () => renameSync(at('.partial-manifest'), at(`${ids[1]}/manifest.json`)))
    const entries = await readEntries(storage, 'app')
    expect(entries.map(({ status, id }) => [status, id])).toEqual(ids.slice(1).map(id => ['ok', id]))
  })

  it('lacks no parent of a child that it shows', async () => {
    const app = await application()
    const full = (await app.create()).backups[0]?.id ?? ''
    const incr = (await app.create({ type: 'incr' })).backups[0]?.id ?? ''
    const { storage } = await openRepository(app.source.repository)
    let looks = 0
    // A directory is read in pieces: the first piece was read before the full was there.
    const list = async (name: string) => {
      const found = await storage.list(name)
      looks += 1
      return looks > 1 ? found : found.filter(entry => entry.name !== full)
    }
    const late = { list, readSmall: storage.readSmall.bind(storage), sizeOf: storage.sizeOf.bind(storage) }
    expect((await readEntries(late, 'app')).map(({ status, id }) => [status, id])).toEqual([
      ['ok', full],
      ['ok', incr],
    ])
  })
})

describe('keys that are changed meanwhile', () => {
  const rotation = { without: [], dryRun: false }

  it('are no damage while an epoch begins between two looks', async () => {
    const app = await encryptedApplication([keyFile()])
    await app.create()
    const { repository } = app.source
    const rotate = () => once(() => rotateKeys(app.context, app.journal, { repository, ...rotation }))
    const opened = await openRepository(repository)
    for (const place of [/^keys$/, /first\.json$/, /epoch\.json$/, /next\.json$/]) {
      const between = rotate()
      const moving = await paused(app, (_, name) => (place.test(name) ? between() : Promise.resolve()))
      expect(await currentOrNone(app.context, moving), String(place)).toBeDefined()
    }
    expect(await readOwnEpochs(opened.storage, opened.id)).toHaveLength(5)
  })

  it('are no damage while somebody is taken out between listing and reading', async () => {
    const app = await encryptedApplication([keyFile(), keyFile()])
    await app.create()
    const opened = await openRepository(app.source.repository)
    const [epoch] = await readOwnEpochs(opened.storage, opened.id)
    const directory = join(app.source.repository.path, 'keys', epoch?.id ?? '', 'recipients')
    const remove = once(async () => rmSync(join(directory, readdirSync(directory)[0] ?? '')))
    const moving = await paused(app, (method, name) =>
      method === 'list' && /recipients$/.test(name) ? remove() : Promise.resolve(),
    )
    expect(await readRecipients(moving.storage, epoch?.id ?? '')).toHaveLength(1)
  })
})

describe('the state directory', () => {
  it('loses nothing of what several runs remember at once', async () => {
    const context = testContext({ stateDirectory: join(temporaryDirectory(), 'state') })
    const ids = Array.from({ length: 30 }, (_, n) => `id${n}`)
    await Promise.all(
      ids.map((id, sequence) =>
        changeKnown(context, 'repository', 'app', known => ({ ...known, [id]: { sequence, manifest: '' } })),
      ),
    )
    expect(Object.keys(await readKnown(context, 'repository', 'app')).sort()).toEqual(ids.sort())
  })

  it('keeps one signing key, and one mark for the log, whichever run makes it', async () => {
    const context = testContext({ stateDirectory: join(temporaryDirectory(), 'state') })
    const runs = Array.from({ length: 8 }, () => Promise.all([hostSigner(context), walIdentity(context, 'repository')]))
    const ids = (await Promise.all(runs)).map(([signer, wal]) => `${signer.id} ${wal.id}`)
    expect(new Set(ids).size).toBe(1)
    expect(readFileSync(join(context.stateDirectory, 'keys', 'signing-key'), 'utf8')).toMatch(
      /^NEXUS-BACKUP-SIGNING-KEY-1-/,
    )
  })
})
