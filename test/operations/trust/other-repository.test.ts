import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Context } from '../../../src/context.js'
import { create } from '../../../src/operations/create.js'
import { addKeys } from '../../../src/operations/keys/add-keys.js'
import { distrustHost } from '../../../src/operations/keys/distrust-host.js'
import { rotateKeys } from '../../../src/operations/keys/rotate-keys.js'
import { prune } from '../../../src/operations/prune.js'
import { hostSigner } from '../../../src/operations/sealing/host-keys.js'
import { formatChecksums, parseChecksums } from '../../../src/repository/checksums.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { sha256 } from '../../repository/manifests.js'
import { type Application, application } from '../application.js'
import { accessWith, encryptedApplication, everyFile, keyFile, requestFor } from '../sealing/encrypted.js'
import { forge, intruderOf, listed, mark, restored, verified } from './bench.js'

const elsewhere = (app: Application, keys = app.context.keys): Context => ({
  ...app.context,
  keys,
  stateDirectory: join(temporaryDirectory(), 'bare'),
})

describe('what one host has signed in two repositories', () => {
  it('counts only in the one whose keys it is sealed to, whatever else is brought along', async () => {
    const key = keyFile()
    const here = await encryptedApplication([key], { database: { rows: 3, pageSize: 512 } })
    const full = (await here.create({ type: 'full' })).backups[0]?.id ?? ''
    // The same host backs up another database under the same name elsewhere.
    const there = await encryptedApplication([key], { database: { rows: 3, pageSize: 512 } })
    mark(there.source.path, 'forged')
    const request = requestFor(there.source, { type: 'full', init: true })
    const foreign = []
    for (let n = 0; n < 3; n += 1)
      foreign.push((await create(here.context, here.journal, request)).backups[0]?.id ?? '')
    for (const id of foreign) {
      cpSync(join(there.source.repository.path, 'app', id), join(here.source.repository.path, 'app', id), {
        recursive: true,
      })
    }
    for (const name of ['keys', 'app/proofs']) {
      const from = join(there.source.repository.path, name)
      if (existsSync(from)) {
        cpSync(from, join(here.source.repository.path, name), { recursive: true, force: false, errorOnExist: false })
      }
    }
    for (const context of [here.context, elsewhere(here)]) {
      expect(await listed(here, context)).toMatchObject({
        ours: [full],
        untrusted: foreign.map(id => [id, 'stranger']),
      })
      expect(await restored(here, 'app', { context })).toMatchObject({ id: full, marks: [] })
      const [one = ''] = foreign
      await expect(restored(here, one, { context })).rejects.toMatchObject({ code: 'backup_untrusted' })
    }
    const status = await verified(here)
    expect(foreign.map(id => status[id])).toEqual(foreign.map(() => 'untrusted'))
    const { name, repository } = here.source
    const pruned = await prune(here.context, here.journal, {
      sources: [{ name, repository, keep: { last: 1 } }],
      dryRun: false,
    })
    expect(pruned.delete).toEqual([])
    expect((await here.create({ type: 'incr' })).backups).toMatchObject([{ parent: full }])
  })
})

/** Gives a repository another identity, its checksums to match. */
function rename(path: string, id: string): void {
  const file = join(path, 'nexus-backup.json')
  const bytes = Buffer.from(readFileSync(file, 'utf8').replace(/"id": "[^"]+"/, `"id": "${id}"`))
  writeFileSync(file, bytes)
  const sums = parseChecksums(readFileSync(join(path, 'SHA256SUMS')), 'test')
  sums.set('nexus-backup.json', sha256(bytes))
  writeFileSync(join(path, 'SHA256SUMS'), formatChecksums(sums))
}

const OTHER = '11111111-2222-4333-8444-555555555555'

describe('a repository that calls itself another', () => {
  it.each([
    'alone',
    'with keys of its own',
  ])('%s, keeps the host that knows it from writing, and misleads no reader', async how => {
    const key = keyFile()
    const app = await encryptedApplication([key], { database: { rows: 3, pageSize: 512 } })
    const full = (await app.create({ type: 'full' })).backups[0]?.id ?? ''
    const { path } = app.source.repository
    rename(path, OTHER)
    let forged: string | undefined
    if (how !== 'alone') {
      // Whoever may change everything begins keys of his own there, and makes a backup with them.
      rmSync(join(path, 'keys', 'first.json'))
      const thief = { ...intruderOf(app), keys: accessWith(keyFile()) }
      await addKeys(thief, app.journal, {
        repository: app.source.repository,
        recipients: [...thief.keys.means],
        label: null,
      })
      forged = await forge(app, thief)
    }
    const files = () => everyFile(path).filter(name => !name.includes('/.locks/'))
    const before = files()
    const bare = { ...app.source, repository: { name: 'local', path } }
    for (const source of [app.source, bare, { ...bare, name: 'other' }]) {
      const { backups, failures } = await create(app.context, app.journal, requestFor(source, { type: 'full' }))
      expect(backups, source.name).toEqual([])
      expect(failures, source.name).toMatchObject([{ code: 'repository_replaced' }])
    }
    expect(files()).toEqual(before)
    expect(await restored(app, 'app')).toMatchObject({ id: full, marks: [] })
    expect((await listed(app)).ours).toEqual([full])
    const status = await verified(app)
    expect(status[full]).toBe('ok')
    expect(status[OTHER]).toBe('damaged')
    if (forged !== undefined) expect(status[forged]).toBe('untrusted')
  })

  it('made anew on purpose, is taken by the host with --init', async () => {
    const key = keyFile()
    const app = await encryptedApplication([key], { database: { rows: 3, pageSize: 512 } })
    await app.create({ type: 'full' })
    rmSync(app.source.repository.path, { recursive: true })
    for (let n = 0; n < 2; n += 1) {
      const { failures } = await app.create({ type: 'full', init: n === 0 })
      expect(failures).toEqual([])
    }
    rmSync(app.source.repository.path, { recursive: true })
    const plain = { ...app.source, repository: { name: 'local', path: app.source.repository.path } }
    for (let n = 0; n < 2; n += 1) {
      const { failures } = await create(app.context, app.journal, requestFor(plain, { init: n === 0 }))
      expect(failures).toEqual([])
    }
  })
})

describe('a repository some of whose keys are gone, for a host that knows nothing of them', () => {
  const parts: [string, (path: string) => void][] = [
    ['the file that names the first epoch', path => rmSync(join(path, 'keys', 'first.json'))],
    [
      'every epoch',
      path => {
        for (const name of readdirSync(join(path, 'keys'))) {
          if (/^\d{8}T/.test(name)) rmSync(join(path, 'keys', name), { recursive: true })
        }
      },
    ],
    [
      'every epoch and what names the first',
      path => {
        for (const name of readdirSync(join(path, 'keys'))) {
          if (name !== 'hosts') rmSync(join(path, 'keys', name), { recursive: true })
        }
      },
    ],
    ['its identity', path => rename(path, OTHER)],
  ]
  it.each(parts)('%s: takes nothing in plain', async (_, take) => {
    const app = await encryptedApplication([keyFile()], { database: { rows: 3, pageSize: 512 } })
    await app.create({ type: 'full' })
    const { path } = app.source.repository
    take(path)
    const plain = await application({ database: { rows: 3, pageSize: 512 } })
    const other = { ...plain.source, name: 'other', repository: { name: 'local', path } }
    const { failures, backups } = await create(elsewhere(app, accessWith()), app.journal, requestFor(other))
    expect(backups).toEqual([])
    expect(failures).toMatchObject([{ code: expect.stringMatching(/^keys_/) }])
    expect(existsSync(join(path, 'other', 'source.json'))).toBe(false)
  })
})

describe('a word against a host’s key that somebody takes away', () => {
  /** Two epochs vouch for the host; then its key is stolen, and the last one gives its word against it. */
  async function distrusting(isRotated: boolean) {
    const key = keyFile()
    const app = await encryptedApplication([key], { database: { rows: 3, pageSize: 512 } })
    const full = (await app.create({ type: 'full' })).backups[0]?.id ?? ''
    const thief = intruderOf(app)
    cpSync(app.context.stateDirectory, thief.stateDirectory, { recursive: true })
    const { repository } = app.source
    const { id } = await hostSigner(app.context)
    await distrustHost(app.context, app.journal, { repository, id, all: false, dryRun: false })
    if (isRotated) await rotateKeys(app.context, app.journal, { repository, without: [], dryRun: false })
    const forged = await forge(app, thief)
    const words = join(repository.path, 'keys', 'hosts', id)
    for (const name of readdirSync(words)) if (name.startsWith('distrusted-')) rmSync(join(words, name))
    return { app, key, full, forged }
  }

  it('is remembered by hosts that have kept it', async () => {
    const { app, full, forged } = await distrusting(false)
    expect(await listed(app)).toMatchObject({ ours: [full], untrusted: [[forged, 'stranger']] })
    expect(await restored(app, 'app')).toMatchObject({ id: full })
    await expect(restored(app, forged)).rejects.toMatchObject({ code: 'backup_untrusted' })
  })

  it('counts everywhere once the keys were rotated, and spares nothing then', async () => {
    const { app, key, full, forged } = await distrusting(true)
    const bare = elsewhere(app, accessWith(key))
    expect(await listed(app, bare)).toMatchObject({
      ours: [],
      untrusted: [
        [full, 'stranger'],
        [forged, 'stranger'],
      ],
    })
    await expect(restored(app, 'app', { context: bare })).rejects.toMatchObject({ code: 'backup_untrusted' })
    await expect(restored(app, forged, { context: bare })).rejects.toMatchObject({ code: 'backup_untrusted' })
    // A host that has kept it puts it back, and what it spared counts again.
    await app.create({ type: 'full' })
    expect(await listed(app, bare)).toMatchObject({ ours: [full] })
    expect(await restored(app, 'app', { context: elsewhere(app, accessWith(key)) })).toMatchObject({ id: full })
  })
})
