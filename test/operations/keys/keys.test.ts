import { createHash, randomUUID } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { NexusError } from '../../../src/errors.js'
import { secretName } from '../../../src/keys/derive.js'
import { epochPrivate, newEpochSecret } from '../../../src/keys/epoch-keys.js'
import { readKeyFile } from '../../../src/keys/key-file.js'
import { addKeys } from '../../../src/operations/keys/add-keys.js'
import { listKeys } from '../../../src/operations/keys/list-keys.js'
import { removeKey } from '../../../src/operations/keys/remove-key.js'
import { rotateKeys } from '../../../src/operations/keys/rotate-keys.js'
import { testKeys } from '../../../src/operations/keys/test-keys.js'
import { trustHost } from '../../../src/operations/keys/trust-host.js'
import { restore } from '../../../src/operations/restore.js'
import { hostSigner } from '../../../src/operations/sealing/host-keys.js'
import { renewRecoveryOf } from '../../../src/operations/sealing/renew-recovery.js'
import { verify } from '../../../src/operations/verify.js'
import { formatEpoch } from '../../../src/repository/keys/epoch.js'
import { formatVouch, readHost } from '../../../src/repository/keys/host-file.js'
import { epochFile, vouchFile } from '../../../src/repository/keys/key-layout.js'
import { formatRecipient } from '../../../src/repository/keys/recipient-file.js'
import { openRepository } from '../../../src/repository/open.js'
import { checkRootFiles } from '../../../src/repository/root-files.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import type { Application } from '../application.js'
import { application } from '../application.js'
import {
  accessWith,
  encryptedApplication,
  everyFile,
  keyFile,
  passphraseFile,
  requestFor,
} from '../sealing/encrypted.js'

function withKeys(app: Application, ...means: Parameters<typeof accessWith>) {
  return { ...app.context, keys: accessWith(...means) }
}

async function restores(app: Application, context: Application['context'], backup: string): Promise<boolean> {
  const path = join(temporaryDirectory(), 'restored.db')
  const target = { kind: 'path' as const, path, force: false }
  const request = { repositories: [app.source.repository], backup, target, source: app.source, at: undefined }
  try {
    await restore(context, app.journal, { ...request, dryRun: false })
    return true
  } catch (error) {
    expect(error).toMatchObject({ kind: 'refused', code: expect.stringMatching(/^key_/) })
    return false
  }
}

async function recipientsOf(app: Application): Promise<string[]> {
  const { repositories } = await listKeys(app.context, [app.source.repository])
  return repositories[0]?.epochs.find(({ current }) => current)?.recipients.map(({ id }) => id) ?? []
}

describe('keys', () => {
  it('renews a recover.mjs that is too old to open what is sealed, and says so where nobody may replace it', async () => {
    const app = await application()
    await app.create({ init: true })
    const { repository } = app.source
    const path = (name: string) => join(repository.path, name)
    const old = '// cannot decrypt\n'
    const age = () => {
      const sums = readFileSync(path('SHA256SUMS'), 'utf8')
      writeFileSync(path('recover.mjs'), old)
      const sum = createHash('sha256').update(old).digest('hex')
      writeFileSync(path('SHA256SUMS'), sums.replace(/.*(?= {2}recover\.mjs)/, sum))
    }
    const ours = readFileSync(path('recover.mjs'), 'utf8')
    age()
    const key = keyFile()
    await addKeys(app.context, app.journal, { repository, recipients: [key], label: null })
    expect(readFileSync(path('recover.mjs'), 'utf8')).toBe(ours)
    age()
    const context = withKeys(app, key)
    await addKeys(context, app.journal, { repository, recipients: [keyFile()], label: null })
    expect(readFileSync(path('recover.mjs'), 'utf8')).toBe(ours)
    expect(await checkRootFiles((await openRepository(repository)).storage)).toEqual([])
    age()
    const warnings: string[] = []
    const said = { ...context, warn: (message: string) => void warnings.push(message) }
    const opened = await openRepository(repository)
    const kept = new NexusError('failed', 'repository_permission', 'no')
    const storage = new Proxy(opened.storage, {
      get(target, name) {
        const value = Reflect.get(target, name)
        if (name === 'replace') return () => Promise.reject(kept)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
    await renewRecoveryOf(said, { ...opened, storage })
    expect(readFileSync(path('recover.mjs'), 'utf8')).toBe(old)
    expect(warnings).toEqual([expect.stringMatching(/keeps the recover\.mjs that it has, which is of no version/)])
  })

  it('lets a second recipient in, and none of the stored bytes changes', async () => {
    const [first, second] = [keyFile(), passphraseFile('six random words')]
    const app = await encryptedApplication([first])
    const id = (await app.create()).backups[0]?.id ?? ''
    const before = everyFile(join(app.source.repository.path, 'app')).map(path => readFileSync(path))
    const { repository } = app.source
    const request = { repository, recipients: [second], label: 'safe' }
    expect(await addKeys(app.context, app.journal, request)).toMatchObject({
      added: [expect.stringMatching(/^pass-/)],
      began: false,
    })
    expect(await restores(app, withKeys(app, second), id)).toBe(true)
    expect(everyFile(join(repository.path, 'app')).map(path => readFileSync(path))).toEqual(before)
    // Who has no key lets nobody in, and nobody twice.
    const stranger = addKeys(withKeys(app), app.journal, { repository, recipients: [keyFile()], label: null })
    await expect(stranger).rejects.toMatchObject({ code: 'key_missing' })
    const again = addKeys(app.context, app.journal, { repository, recipients: [first], label: null })
    await expect(again).rejects.toMatchObject({ kind: 'refused', code: 'recipient_exists' })
    const { repositories } = await listKeys(app.context, [repository])
    expect(repositories[0]).toMatchObject({
      encrypted: true,
      epochs: [{ current: true }],
      hosts: [{ is_trusted: true }],
    })
    expect(repositories[0]?.epochs[0]?.recipients.map(({ label }) => label)).toEqual([null, 'safe'])
  })

  it('opens for everybody whose own entry is sound, whatever somebody has put beside it', async () => {
    const [first, second] = [keyFile(), keyFile()]
    const app = await encryptedApplication([first, second])
    const backup = (await app.create()).backups[0]?.id ?? ''
    const keys = join(app.source.repository.path, 'keys')
    const [epoch = ''] = readdirSync(keys).filter(name => name.includes('T'))
    const recipients = join(keys, epoch, 'recipients')
    const entry = (id: string) => join(recipients, `${id}.json`)
    writeFileSync(entry(`key-${secretName(readKeyFile(second.path))}`), 'rotten')
    writeFileSync(entry('key-0000000000000000'), Buffer.alloc(100_000))
    mkdirSync(join(keys, '20200101T000000.000Z-00000000'))
    writeFileSync(join(keys, '20200101T000000.000Z-00000000', 'epoch.json'), 'garbage')
    expect(await restores(app, withKeys(app, first), backup)).toBe(true)
    // But it is said, and no backup is blamed for it.
    const request = { repositories: [app.source.repository], sources: [], targets: [], drill: false }
    const { results } = await verify(withKeys(app, first), app.journal, request)
    expect(results.map(({ status, findings }) => [status, findings.length])).toEqual([
      ['damaged', 3],
      ['ok', 0],
    ])
    // Those of the others are named when nobody is left.
    const stranger = { ...app.context, keys: accessWith(keyFile()) }
    const opening = stranger.keys.open((await openRepository(app.source.repository)).storage, epoch)
    await expect(opening).rejects.toThrow(/is no recipient.*damaged|damaged.*is no recipient/s)
  })

  it('rotates for nobody whom somebody without a key has entered', async () => {
    const key = keyFile()
    const app = await encryptedApplication([key])
    await app.create()
    const { repository } = app.source
    const keys = join(repository.path, 'keys')
    const [epoch = ''] = readdirSync(keys).filter(name => name.includes('T'))
    const arn = 'arn:aws:kms:eu-west-1:666666666666:key/thief'
    const wrapped = { kind: 'aws-kms' as const, id: 'kms-00000000', parameters: { key: arn }, secret: Buffer.from('x') }
    const now = new Date()
    const known = { label: 'safe', since: now, added: now }
    const path = join(keys, epoch, 'recipients', 'kms-00000000.json')
    writeFileSync(path, formatRecipient(epoch, wrapped, known, Buffer.alloc(32)))
    const rotate = (without: string[]) => rotateKeys(app.context, app.journal, { repository, without, dryRun: false })
    await expect(rotate([])).rejects.toMatchObject({
      kind: 'refused',
      code: 'recipient_forged',
      hint: expect.stringContaining('--without kms-00000000'),
    })
    expect((await rotate(['kms-00000000'])).recipients).toHaveLength(1)
  })

  it('takes one out, but never the last one, nor when nobody who stays is proven', async () => {
    const [first, second] = [keyFile(), keyFile()]
    const app = await encryptedApplication([first, second])
    const backup = (await app.create()).backups[0]?.id ?? ''
    const { repository } = app.source
    const [one = '', two = ''] = await recipientsOf(app)
    const remove = (id: string, wishes = {}, context = app.context) =>
      removeKey(context, app.journal, { repository, id, force: false, dryRun: false, ...wishes })
    await expect(remove('key-0000000000000000')).rejects.toMatchObject({ code: 'recipient_not_found' })
    await expect(remove(one, {}, withKeys(app))).rejects.toMatchObject({ kind: 'refused', code: 'others_untested' })
    await remove(one, { dryRun: true })
    expect(await recipientsOf(app)).toEqual([one, two])
    await remove(one)
    expect(await recipientsOf(app)).toEqual([two])
    await expect(remove(two, { force: true })).rejects.toMatchObject({ kind: 'refused', code: 'last_recipient' })
    const opened = [
      await restores(app, withKeys(app, first), backup),
      await restores(app, withKeys(app, second), backup),
    ]
    expect(opened.filter(Boolean)).toHaveLength(1)
    expect(app.warnings.join()).toContain('keys rotate')
  })

  it('rotates without touching a backup: old and new ones open, for whoever is in the new epoch', async () => {
    const [stays, goes] = [keyFile(), keyFile()]
    const app = await encryptedApplication([stays, goes])
    const { repository } = app.source
    const old = (await app.create()).backups[0]?.id ?? ''
    const before = everyFile(join(repository.path, 'app')).map(path => readFileSync(path))
    const goesId = (await recipientsOf(app)).find(id => readFileSync(goes.path, 'utf8').includes(id.slice(4))) ?? ''
    const rotate = (wishes = {}, context = app.context) =>
      rotateKeys(context, app.journal, { repository, without: [], dryRun: false, ...wishes })
    // All of them must be at hand, or be left out by name.
    const alone = withKeys(app, stays)
    await expect(rotate({}, alone)).rejects.toMatchObject({ kind: 'refused', code: 'recipient_unreached' })
    await expect(rotate({ without: ['key-0000000000000000'] })).rejects.toMatchObject({ kind: 'not-found' })
    await expect(rotate({}, withKeys(app))).rejects.toMatchObject({ code: 'key_missing' })
    await rotate({ without: [goesId] }, alone)
    expect(everyFile(join(repository.path, 'app')).map(path => readFileSync(path))).toEqual(before)
    // The chain goes on over the new epoch, on a host without any private half.
    const made = await (await import('../../../src/operations/create.js')).create(
      withKeys(app),
      app.journal,
      requestFor(app.source, { type: 'incr' }),
    )
    expect(made).toMatchObject({ failures: [], backups: [{ type: 'incr' }] })
    const fresh = made.backups[0]?.id ?? ''
    expect(await restores(app, withKeys(app, stays), fresh)).toBe(true)
    expect(await restores(app, withKeys(app, stays), old)).toBe(true)
    expect(await restores(app, withKeys(app, goes), fresh)).toBe(false)
    expect(await restores(app, withKeys(app, goes), old)).toBe(true)
    // Only the new epoch's wraps remain: it opens the old one by itself.
    const epochs = readdirSync(join(repository.path, 'keys'))
      .filter(name => /^\d{8}T/.test(name))
      .sort()
    rmSync(join(repository.path, 'keys', epochs[0] ?? '', 'recipients'), { recursive: true })
    expect(await restores(app, withKeys(app, stays), old)).toBe(true)
    await rotate({ dryRun: true }, alone)
    await rotate({}, alone)
    expect(await restores(app, withKeys(app, stays), old)).toBe(true)
  })

  it('tests what this host can reach', async () => {
    const [key, passphrase] = [keyFile(), passphraseFile('six random words')]
    const app = await encryptedApplication([key, passphrase])
    await app.create()
    const { repository } = app.source
    const statuses = async (context: Application['context']) => {
      const { repositories } = await testKeys(context, app.journal, [repository])
      return Object.fromEntries(repositories[0]?.recipients.map(({ kind, status }) => [kind, status]) ?? [])
    }
    expect(await statuses(app.context)).toEqual({ 'key-file': 'ok', passphrase: 'ok' })
    expect(await statuses(withKeys(app, key))).toEqual({ 'key-file': 'ok', passphrase: 'unreached' })
    expect(await statuses(withKeys(app, keyFile()))).toEqual({ 'key-file': 'unreached', passphrase: 'unreached' })
    expect(await statuses(withKeys(app, passphraseFile('another one')))).toEqual({
      'key-file': 'unreached',
      passphrase: 'unreached',
    })
    expect(app.journal.heard).toContain('keys test done')
  })

  it('shows ages and warns past the limit', async () => {
    const app = await encryptedApplication([keyFile()])
    await app.create()
    const later = { ...app.context, now: () => new Date(Date.UTC(2026, 5, 1)) }
    const { repositories } = await listKeys(later, [app.source.repository])
    expect(repositories[0]?.epochs[0]?.recipients).toMatchObject([{ age_days: 181, is_old: true }])
    expect(app.warnings.join()).toContain('181 days old')
  })

  it('turns encryption on in a plain repository: the next backup is a full', async () => {
    const app = await application()
    const key = keyFile()
    const { repository } = app.source
    expect((await app.create()).backups).toMatchObject([{ type: 'full' }])
    const begun = await addKeys(app.context, app.journal, { repository, recipients: [key], label: null })
    expect(begun.began).toBe(true)
    const { backups, failures } = await app.create()
    expect(failures).toEqual([])
    expect(backups).toMatchObject([{ type: 'full', warnings: [expect.stringContaining('encrypted since')] }])
    const context = withKeys(app, key)
    const request = { repositories: [repository], sources: [app.source], targets: [], drill: false }
    const { results } = await verify(context, app.journal, request)
    expect(results.map(({ status }) => status)).toEqual(['ok', 'ok'])
  })

  it.each([
    true,
    false,
  ])('does not take the word of an epoch that an intruder put beside (repository’s own id: %s)', async own => {
    const app = await encryptedApplication([keyFile()])
    await app.create()
    const intruder = { ...withKeys(app), host: 'db9', stateDirectory: join(temporaryDirectory(), 'state') }
    const { create } = await import('../../../src/operations/create.js')
    await create(intruder, app.journal, requestFor({ ...app.source, name: 'second' }))
    const repository = await openRepository(app.source.repository)
    const keys = epochPrivate(newEpochSecret())
    const known = { repository: own ? repository.id : randomUUID(), now: new Date() }
    const { id, bytes } = await formatEpoch(keys, known, null)
    await repository.storage.writeOnce(epochFile(id), bytes)
    const host = await readHost(repository.storage, (await hostSigner(intruder)).id)
    if (host === undefined) throw new Error('the intruder is not registered')
    await repository.storage.writeOnce(vouchFile(host.id, id), formatVouch(host, id, keys, new Date()))
    const request = { repositories: [app.source.repository], sources: [], targets: ['second'], drill: false }
    const { results } = await verify(app.context, app.journal, request)
    expect(results).toMatchObject([
      { status: 'untrusted', findings: [{ problem: expect.stringContaining('nobody has vouched') }] },
    ])
  })

  it('says whose signature nobody has vouched for, until somebody does', async () => {
    const key = keyFile()
    const app = await encryptedApplication([key])
    await app.create()
    // Another host, with a state directory of its own and no key.
    const other = { ...withKeys(app), host: 'db2', stateDirectory: join(temporaryDirectory(), 'state') }
    const { create } = await import('../../../src/operations/create.js')
    const made = await create(other, app.journal, requestFor({ ...app.source, name: 'second' }))
    expect(made.failures).toMatchObject([])
    const look = async () => {
      const request = { repositories: [app.source.repository], sources: [], targets: ['second'], drill: false }
      const { results } = await verify(app.context, app.journal, request)
      return results.map(({ status, findings }) => [status, ...findings.map(({ problem }) => problem)])
    }
    expect(await look()).toEqual([['untrusted', expect.stringContaining('nobody has vouched')]])
    const { repositories } = await listKeys(app.context, [app.source.repository])
    const stranger = repositories[0]?.hosts.find(({ is_trusted }) => !is_trusted)
    expect(stranger).toMatchObject({ host: 'db2' })
    const trust = (id: string, context = app.context) =>
      trustHost(context, app.journal, { repository: app.source.repository, id, dryRun: false })
    await expect(trust('0000000000000000')).rejects.toMatchObject({ code: 'host_not_found' })
    await expect(trust(stranger?.id ?? '', withKeys(app))).rejects.toMatchObject({ code: 'key_missing' })
    expect(made.backups).toMatchObject([{ unvouched: stranger?.id }])
    await trust(stranger?.id ?? '')
    expect(await look()).toEqual([['ok']])
  })

  it('seals nothing to keys that do not follow the ones this host knows', async () => {
    const app = await encryptedApplication([keyFile()])
    await app.create()
    const { path } = app.source.repository
    const intruder = await encryptedApplication([keyFile()])
    await intruder.create()
    const keys = join(path, 'keys')
    const [epoch = ''] = readdirSync(keys).filter(name => /^\d{8}T/.test(name))
    const [theirs = ''] = readdirSync(join(intruder.source.repository.path, 'keys')).filter(name =>
      /^\d{8}T/.test(name),
    )
    const forged = readFileSync(join(intruder.source.repository.path, 'keys', theirs, 'epoch.json'))
    writeFileSync(join(keys, epoch, 'epoch.json'), forged)
    // The host goes on with the keys that it has kept.
    const { failures, backups } = await app.create()
    expect(failures).toEqual([])
    expect(app.warnings).toContainEqual(expect.stringContaining(`${epoch}/epoch.json is damaged`))
    const manifest = JSON.parse(readFileSync(join(path, 'app', backups[0]?.id ?? '', 'manifest.json'), 'utf8'))
    expect(manifest.encryption.epoch).toBe(epoch)
    rmSync(join(app.context.stateDirectory, 'keys', 'kept'), { recursive: true })
    expect((await app.create()).failures).toMatchObject([{ kind: 'damage', code: 'keys_damaged' }])
    rmSync(keys, { recursive: true })
    expect((await app.create()).failures).toMatchObject([{ kind: 'damage', code: 'keys_damaged' }])
    // A host that does not know them, too, sees that there must have been some.
    rmSync(join(app.context.stateDirectory, 'keys'), { recursive: true })
    const plain = { ...app.source, repository: { name: 'local', path } }
    expect((await app.create({ sources: [plain] })).failures).toMatchObject([{ kind: 'damage', code: 'keys_missing' }])
  })
})
