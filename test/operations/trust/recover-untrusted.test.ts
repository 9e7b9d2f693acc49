import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { describe, expect, it } from 'vitest'
import { create } from '../../../src/operations/create.js'
import { addKeys } from '../../../src/operations/keys/add-keys.js'
import { distrustHost } from '../../../src/operations/keys/distrust-host.js'
import { rotateKeys } from '../../../src/operations/keys/rotate-keys.js'
import { trustHost } from '../../../src/operations/keys/trust-host.js'
import { hostSigner } from '../../../src/operations/sealing/host-keys.js'
import { formatChecksums, parseChecksums } from '../../../src/repository/checksums.js'
import { sha256Of } from '../../../src/repository/root-files.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { type Application, application } from '../application.js'
import { accessWith, encryptedApplication, keyFile, requestFor } from '../sealing/encrypted.js'
import { forge, intruderOf } from './bench.js'

/** Recovers a backup into a new file with this key, and says how that ended. */
async function recover(path: string, id: string, key: string | undefined, ...more: string[]) {
  const out = join(temporaryDirectory(), 'out.db')
  const keys = key === undefined ? [] : ['--key-file', key]
  const words = [join(path, 'recover.mjs'), join(path, 'app', id), out, ...keys, ...more]
  const { exitCode, stderr } = await execa(process.execPath, words, { reject: false })
  return { code: exitCode, stderr }
}

const refused = (text: string) => ({ code: 1, stderr: expect.stringContaining(text) })

async function backedUp(app: Application): Promise<string> {
  const { backups, failures } = await app.create({ type: 'full' })
  expect(failures).toEqual([])
  return backups[0]?.id ?? ''
}

const small = { database: { rows: 3, pageSize: 512 } }

async function place() {
  const key = keyFile()
  const app = await encryptedApplication([key], small)
  const id = await backedUp(app)
  return { key: key.path, means: key, app, id, path: app.source.repository.path }
}

describe('recover.mjs with a key', () => {
  it("recovers what hosts made that the keys vouch for, before and after a rotation, and a stranger's when told to", async () => {
    const { key, app, id, path } = await place()
    const { context, journal, source } = app
    const other = intruderOf(app)
    const byOther = await forge(app, other)
    expect(await recover(path, byOther, key)).toMatchObject(refused('for which nobody has vouched'))
    const taken = await recover(path, byOther, key, '--untrusted')
    expect(taken).toMatchObject({ code: 0, stderr: expect.stringContaining('because --untrusted says so') })
    const signer = (await hostSigner(other)).id
    await trustHost(context, journal, { repository: source.repository, id: signer, dryRun: false })
    await rotateKeys(context, journal, { repository: source.repository, without: [], dryRun: false })
    const after = await backedUp(app)
    for (const one of [id, byOther, after]) expect(await recover(path, one, key), one).toMatchObject({ code: 0 })

    // A manifest whose signature was changed, and one that names another host.
    const directory = join(path, 'app', id)
    const good = readFileSync(join(directory, 'manifest.json'), 'utf8')
    const { encryption } = JSON.parse(good)
    const changed = `${encryption.signature.startsWith('A') ? 'B' : 'A'}${encryption.signature.slice(1)}`
    for (const [text, instead, why] of [
      [encryption.signature, changed, 'its signature does not hold'],
      [encryption.signer, '0123456789abcdef', 'which nobody knows'],
    ]) {
      writeFileSync(join(directory, 'manifest.json'), good.replace(text, instead))
      const sums = parseChecksums(readFileSync(join(directory, 'SHA256SUMS')), 'test')
      sums.set('manifest.json', sha256Of(readFileSync(join(directory, 'manifest.json'))))
      writeFileSync(join(directory, 'SHA256SUMS'), formatChecksums(sums))
      expect((await recover(path, id, key)).code, why).toBe(1)
    }
  })

  it('refuses plain backups among encrypted ones, and any where a key is given, but not those from before', async () => {
    const app = await application(small)
    const before = (await app.create({ type: 'full', init: true })).backups[0]?.id ?? ''
    const key = keyFile()
    const { repository } = app.source
    expect(await recover(repository.path, before, undefined)).toMatchObject({ code: 0 })
    expect(await recover(repository.path, before, key.path)).toMatchObject(refused('though a key is given'))
    const context = { ...app.context, keys: accessWith(key) }
    await addKeys(context, app.journal, { repository, recipients: [key], label: null })
    await create(context, app.journal, requestFor(app.source, { type: 'full' }))
    expect(await recover(repository.path, before, key.path)).toMatchObject({ code: 0 })
    const other = await application(small)
    await other.create({ type: 'full', init: true })
    const plain = await backedUp(other)
    cpSync(join(other.source.repository.path, 'app', plain), join(repository.path, 'app', plain), { recursive: true })
    const forged = await recover(repository.path, plain, undefined)
    expect(forged).toMatchObject(refused('is not encrypted, though the backups of its repository are'))
    rmSync(join(repository.path, 'keys'), { recursive: true })
    expect(await recover(repository.path, plain, key.path)).toMatchObject(refused('though a key is given'))
  })

  it('reads the word against a key, but for the backups that it spares', async () => {
    const { key, app, id, path } = await place()
    const { id: signer } = await hostSigner(app.context)
    const distrust = (all: boolean) =>
      distrustHost(app.context, app.journal, { repository: app.source.repository, id: signer, all, dryRun: false })
    await distrust(false)
    const after = await forge(app, app.context)
    expect(await recover(path, after, key)).toMatchObject(refused('which is distrusted since'))
    expect(await recover(path, after, key, '--untrusted')).toMatchObject({ code: 0 })
    expect(await recover(path, id, key)).toMatchObject({ code: 0 })
    const words = join(path, 'keys', 'hosts', signer)
    const word = join(words, readdirSync(words).find(name => name.startsWith('distrusted-')) ?? '')
    const text = readFileSync(word, 'utf8')
    // What the epoch has not signed says nothing.
    for (const forged of ['null', text.replace(/"spared": "[^"]*"/, '"spared": ""')]) {
      writeFileSync(word, forged)
      expect(await recover(path, after, key), forged).toMatchObject({ code: 0 })
    }
    writeFileSync(word, text)
    // Under another epoch the latest word counts.
    await rotateKeys(app.context, app.journal, { repository: app.source.repository, without: [], dryRun: false })
    await distrust(true)
    expect(await recover(path, id, key)).toMatchObject(refused('which is distrusted since'))
  })

  it('believes no other epochs than those of its key, whatever first.json names', async () => {
    const { key, app, id, path } = await place()
    const intruder = intruderOf(app)
    const forged = await forge(app, intruder)
    // A repository of the intruder's, whose keys vouch for him, made to be of this one.
    const theirs = await encryptedApplication([keyFile()], small)
    theirs.context.stateDirectory = intruder.stateDirectory
    const idOf = (repository: string) => JSON.parse(readFileSync(join(repository, 'nexus-backup.json'), 'utf8')).id
    await backedUp(theirs)
    const from = theirs.source.repository.path
    expect(idOf(from)).not.toBe(idOf(path))
    cpSync(join(from, 'keys'), join(path, 'keys'), { recursive: true, force: true })
    const signer = (await hostSigner(intruder)).id
    expect(readdirSync(join(path, 'keys', 'hosts', signer))).toHaveLength(1)
    expect(await recover(path, forged, key)).toMatchObject(refused('for which nobody has vouched'))
    expect(await recover(path, id, key)).toMatchObject({ code: 0 })
  })
})
