import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Context } from '../../../src/context.js'
import { copy } from '../../../src/operations/copy.js'
import { create } from '../../../src/operations/create.js'
import { distrustHost } from '../../../src/operations/keys/distrust-host.js'
import { rotateKeys } from '../../../src/operations/keys/rotate-keys.js'
import { trustHost } from '../../../src/operations/keys/trust-host.js'
import { hostSigner } from '../../../src/operations/sealing/host-keys.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import type { Application } from '../application.js'
import { accessWith, encryptedApplication, keyFile, requestFor } from '../sealing/encrypted.js'
import { forge, intruderOf, listed, restored, verified } from '../trust/bench.js'

/** A host with two backups, and a thief who has its signing key, this program and no other key. */
async function stolen() {
  const key = keyFile()
  const app = await encryptedApplication([key], { database: { rows: 3, pageSize: 512 } })
  const genuine: string[] = []
  for (let n = 0; n < 2; n += 1) genuine.push((await app.create({ type: 'full' })).backups[0]?.id ?? '')
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

  it('takes all that it signed along when that is asked for', async () => {
    const { app, genuine, distrust } = await stolen()
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
    const { app, genuine, thief, distrust, id } = await stolen()
    const words = join(app.source.repository.path, 'keys', 'hosts', id)
    const nameOf = () => readdirSync(words).find(name => name.startsWith('distrusted-')) ?? ''
    await distrust(true)
    const name = nameOf()
    const word = readFileSync(join(words, name), 'utf8')
    await app.create()
    rmSync(join(words, name))
    expect((await listed(app)).ours).toHaveLength(genuine.length + 1)
    // The next create of a host that has kept it puts it back.
    await app.create()
    expect(app.warnings.join()).toContain(`keys/hosts/${id}/${name}`)
    expect((await listed(app)).ours).toEqual([])
    // Changed, or of another epoch: it says nothing.
    const other = await stolen()
    const there = join(other.app.source.repository.path, 'keys', 'hosts', other.id)
    const [epoch = ''] = readdirSync(there).filter(one => /^\d/.test(one))
    for (const text of ['garbage', word, word.replaceAll(id, other.id)]) {
      writeFileSync(join(there, `distrusted-${epoch}`), text)
      expect((await listed(other.app)).ours).toEqual(other.genuine)
    }
    await expect(other.distrust(false, false, thief)).rejects.toMatchObject({
      kind: expect.stringMatching(/refused|not-found/),
    })
  })
})
