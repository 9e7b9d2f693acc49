import { randomBytes } from 'node:crypto'
import { cpSync, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Context } from '../../../src/context.js'
import { epochPrivate } from '../../../src/keys/epoch-keys.js'
import { copy } from '../../../src/operations/copy.js'
import { create } from '../../../src/operations/create.js'
import { distrustHost } from '../../../src/operations/keys/distrust-host.js'
import { rotateKeys } from '../../../src/operations/keys/rotate-keys.js'
import { trustHost } from '../../../src/operations/keys/trust-host.js'
import { hostSigner } from '../../../src/operations/sealing/host-keys.js'
import { formatDistrust } from '../../../src/repository/keys/distrust-file.js'
import { readHost } from '../../../src/repository/keys/host-file.js'
import { openRepository } from '../../../src/repository/open.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import type { Application } from '../application.js'
import { accessWith, encryptedApplication, keyFile, requestFor } from '../sealing/encrypted.js'
import { forge, intruderOf, listed, restored, verified } from '../trust/bench.js'

/** A host with two backups, and a thief who has its signing key, this program and no other key. */
async function stolen(backups = 2) {
  const key = keyFile()
  const app = await encryptedApplication([key], { database: { rows: 3, pageSize: 512 } })
  const genuine: string[] = []
  for (let n = 0; n < backups; n += 1) genuine.push((await app.create({ type: 'full' })).backups[0]?.id ?? '')
  const thief = intruderOf(app)
  cpSync(join(app.context.stateDirectory, 'keys', 'signing-key'), join(thief.stateDirectory, 'keys', 'signing-key'), {
    recursive: true,
  })
  const { id } = await hostSigner(app.context)
  const owner = { ...app.context, keys: accessWith(key) }
  const distrust = (all = false, dryRun = false, context: Context = owner) =>
    distrustHost(context, app.journal, { repository: app.source.repository, id, all, dryRun })
  return { app, key, genuine, thief, id, owner, distrust }
}

const bareOf = (app: Application) => ({ ...app.context, stateDirectory: join(temporaryDirectory(), 'bare') })

describe('a stolen signing key', () => {
  it('is believed after a rotation, and no more once it is distrusted; what was there before stays', async () => {
    const { app, genuine, thief, owner, distrust, id } = await stolen()
    await rotateKeys(owner, app.journal, { repository: app.source.repository, without: [], dryRun: false })
    const before = await forge(app, thief)
    expect(await listed(app, bareOf(app))).toMatchObject({ ours: [...genuine, before], untrusted: [] })
    rmSync(join(app.source.repository.path, 'app', before), { recursive: true })

    expect(await distrust(false, true)).toMatchObject({ id, spared: genuine })
    expect(await distrust()).toMatchObject({ id, spared: genuine })
    const after = await forge(app, thief)
    for (const context of [app.context, bareOf(app)]) {
      expect(await listed(app, context)).toMatchObject({ ours: genuine, untrusted: [[after, 'stranger']] })
      expect(await restored(app, 'app', { context })).toMatchObject({ id: genuine[1], marks: [] })
    }
    expect(await verified(app)).toMatchObject({ [after]: 'untrusted' })
    await expect(restored(app, after)).rejects.toMatchObject({
      code: 'backup_untrusted',
      message: expect.stringContaining('distrusted since'),
    })
    // Nor does it pass under the id of one that is spared.
    const place = (name: string) => join(app.source.repository.path, 'app', name)
    rmSync(place(genuine[1] ?? ''), { recursive: true })
    cpSync(place(after), place(genuine[1] ?? ''), { recursive: true })
    expect((await listed(app, bareOf(app))).ours).toEqual([genuine[0]])
  })

  it('takes all that it signed along when that is asked for, also after a word that spared some', async () => {
    const { app, genuine, distrust, owner, id } = await stolen()
    const { repository } = app.source
    const words = join(repository.path, 'keys', 'hosts', id)
    const [epoch = ''] = readdirSync(words)
    const refused = { kind: 'refused', code: 'distrust_taken', hint: expect.stringContaining('keys rotate') }
    // Somebody who may add files has laid something into the place of the word.
    writeFileSync(join(words, `distrusted-${epoch}`), 'garbage')
    await expect(distrust()).rejects.toMatchObject(refused)
    rmSync(join(words, `distrusted-${epoch}`))
    expect(await distrust()).toMatchObject({ spared: genuine })
    expect(await distrust()).toMatchObject({ spared: genuine })
    await expect(distrust(true)).rejects.toMatchObject(refused)
    await rotateKeys(owner, app.journal, { repository, without: [], dryRun: false })
    expect(await distrust(true)).toMatchObject({ spared: [] })
    expect(await listed(app)).toMatchObject({ ours: [], untrusted: genuine.map(one => [one, 'stranger']) })
  })

  it('is replaced by its host with a new one', async () => {
    const { app, genuine, owner, distrust, id, key } = await stolen()
    await distrust()
    const { repository } = app.source
    const late = await create(app.context, app.journal, requestFor(app.source))
    expect(late.backups).toMatchObject([{ unvouched: id, distrusted: true }])
    await expect(trustHost(owner, app.journal, { repository, id, dryRun: false })).rejects.toMatchObject({
      kind: 'refused',
      code: 'host_distrusted',
      hint: expect.stringContaining('keys/signing-key'),
    })
    rmSync(join(app.context.stateDirectory, 'keys', 'signing-key'))
    const fresh = await create(app.context, app.journal, requestFor(app.source))
    const signer = (await hostSigner(app.context)).id
    expect(fresh.backups).toMatchObject([{ unvouched: signer }])
    expect(fresh.backups[0]).not.toHaveProperty('distrusted')
    await trustHost({ ...app.context, keys: accessWith(key) }, app.journal, { repository, id: signer, dryRun: false })
    expect((await listed(app)).ours).toEqual([...genuine, fresh.backups[0]?.id])
  })

  it('is distrusted in copies that are made afterwards', async () => {
    const { app, genuine, thief, distrust } = await stolen()
    await distrust()
    const to = join(temporaryDirectory(), 'copy')
    const task = { source: 'app', from: app.source.repository, to: { name: 'copy', path: to } }
    await copy(app.context, app.journal, { tasks: [task], init: !existsSync(to), dryRun: false })
    const forged = await forge(app, thief)
    cpSync(join(app.source.repository.path, 'app', forged), join(to, 'app', forged), { recursive: true })
    expect(await listed(app, bareOf(app), to)).toMatchObject({ ours: genuine, untrusted: [[forged, 'stranger']] })
  })

  it('stays distrusted when somebody removes the word, and no other word takes a host away', async () => {
    const { app, genuine, thief, distrust, id } = await stolen(1)
    const words = join(app.source.repository.path, 'keys', 'hosts', id)
    const [epoch = ''] = readdirSync(words)
    const name = `distrusted-${epoch}`
    // Only who opens the epoch gives its word; what is changed, or of another one, says nothing.
    await expect(distrust(false, false, thief)).rejects.toMatchObject({
      kind: expect.stringMatching(/refused|not-found/),
    })
    const epochs = epochPrivate(randomBytes(32))
    const opened = await openRepository(app.source.repository)
    const host = await readHost(opened.storage, id)
    if (host === undefined) throw new Error('the host has no key')
    const word = formatDistrust(host, { id: epoch.replace('.json', ''), keys: epochs }, [], new Date(0)).toString()
    for (const text of ['garbage', word]) {
      writeFileSync(join(words, name), text)
      expect((await listed(app)).ours, text).toEqual(genuine)
    }
    rmSync(join(words, name))
    await distrust(true)
    expect((await listed(app)).ours).toEqual([])
    rmSync(join(words, name))
    // This host has kept it; one that knows nothing but the repository is told of it only once the keys are rotated.
    expect((await listed(app)).ours).toEqual([])
    const bare = { ...app.context, stateDirectory: join(temporaryDirectory(), 'bare') }
    expect((await listed(app, bare)).ours).toEqual(genuine)
    // The next create of a host that has kept it puts it back.
    await app.create()
    expect(app.warnings.join()).toContain(`keys/hosts/${id}/${name}`)
    expect((await listed(app)).ours).toEqual([])
  })
})
