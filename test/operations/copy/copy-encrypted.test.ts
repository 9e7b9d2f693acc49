import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { noJournal } from '../../../src/cli/journal.js'
import { renderKeys } from '../../../src/cli/output/render-keys.js'
import type { RepositorySettings } from '../../../src/config/settings.js'
import { copy } from '../../../src/operations/copy.js'
import { create } from '../../../src/operations/create.js'
import { addKeys } from '../../../src/operations/keys/add-keys.js'
import { listKeys } from '../../../src/operations/keys/list-keys.js'
import { removeKey } from '../../../src/operations/keys/remove-key.js'
import { testKeys } from '../../../src/operations/keys/test-keys.js'
import { restore } from '../../../src/operations/restore.js'
import { verify } from '../../../src/operations/verify.js'
import { testContext } from '../../helpers/context.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { application } from '../application.js'
import { accessWith, encryptedApplication, keyFile, passphraseFile, requestFor } from '../sealing/encrypted.js'

function elsewhere(wishes: Partial<RepositorySettings> = {}): RepositorySettings {
  return { name: 'offsite', path: join(temporaryDirectory(), 'offsite'), ...wishes }
}

function run(from: RepositorySettings, to: RepositorySettings) {
  return copy(testContext(), noJournal, { tasks: [{ source: 'app', from, to }], init: true, dryRun: false })
}

describe('copies of an encrypted repository', () => {
  it('need no key to be made, and open with the keys that came along when nothing else is left', async () => {
    const key = keyFile()
    const app = await encryptedApplication([key])
    await app.create()
    await app.create({ type: 'incr' })
    const to = elsewhere()
    const { copies, failures } = await run(app.source.repository, to)
    expect(failures).toEqual([])
    expect(copies[0]?.backups).toHaveLength(2)
    rmSync(app.source.repository.path, { recursive: true })
    const context = testContext({ keys: accessWith(key), stateDirectory: temporaryDirectory() })
    const proof = await verify(context, noJournal, { repositories: [to], sources: [], targets: [], drill: true })
    expect(proof.results.map(({ status }) => status)).toEqual(['ok', 'ok'])
    const path = join(temporaryDirectory(), 'back.db')
    const outcome = await restore(context, noJournal, {
      repositories: [to],
      backup: 'app',
      target: { kind: 'path', path, force: false },
      source: undefined,
      at: undefined,
      dryRun: false,
    })
    expect(outcome.checks.every(({ status }) => status === 'ok')).toBe(true)
  })

  it('bring every key but the name of the first epoch: the other repository seals to its own', async () => {
    const app = await encryptedApplication([keyFile()])
    await app.create()
    const to = elsewhere()
    await run(app.source.repository, to)
    const keysIn = (place: RepositorySettings) => {
      const names = readdirSync(join(place.path, 'keys'), { recursive: true, encoding: 'utf8' })
      return names.filter(name => name.endsWith('.json') && !/^(copies|recovery)\//.test(name)).sort()
    }
    expect(existsSync(join(to.path, 'keys', 'first.json'))).toBe(false)
    expect(keysIn(to)).toEqual(keysIn(app.source.repository).filter(name => name !== 'first.json'))
    // What attests them is written there, and goes no further.
    const third = elsewhere()
    await run(to, third)
    for (const place of [to, third]) expect(readdirSync(join(place.path, 'keys', 'copies', 'app'))).toEqual(['1.json'])
  })

  it('lose a recipient as the original does, but never the last who opens them', async () => {
    const [stays, goes] = [keyFile(), keyFile()]
    const app = await encryptedApplication([stays, goes])
    await app.create()
    const to = elsewhere()
    await run(app.source.repository, to)
    const warnings: string[] = []
    const context = testContext({
      keys: accessWith(stays),
      stateDirectory: temporaryDirectory(),
      warn: message => void warnings.push(message),
    })
    const tested = await testKeys(context, noJournal, [to])
    expect(tested.repositories[0]?.recipients.map(({ status }) => status).sort()).toEqual(['ok', 'unreached'])
    const gone = tested.repositories[0]?.recipients.find(({ status }) => status === 'unreached')?.id ?? ''
    const last = tested.repositories[0]?.recipients.find(({ status }) => status === 'ok')?.id ?? ''
    const remove = (id: string, force = false) =>
      removeKey(context, noJournal, { repository: to, id, force, dryRun: false })
    await expect(remove(last)).rejects.toMatchObject({ kind: 'refused', code: 'others_untested' })
    await expect(remove('key-0000000000000000')).rejects.toMatchObject({ code: 'recipient_not_found' })
    await remove(gone)
    expect(warnings).toContainEqual(expect.stringContaining('comes back with the next nexus-backup copy'))
    await expect(remove(last, true)).rejects.toMatchObject({ kind: 'refused', code: 'last_recipient' })
    const left = (await testKeys(context, noJournal, [to])).repositories[0]?.recipients
    expect(left?.map(({ id, status }) => [id, status])).toEqual([[last, 'ok']])
    // Where it still is a recipient, it comes along again.
    await run(app.source.repository, to)
    expect((await testKeys(context, noJournal, [to])).repositories[0]?.recipients).toHaveLength(2)
  })

  it('open for whoever is let in there, when somebody who can open them is at hand; else that is said', async () => {
    const [old, first, second] = [keyFile(), keyFile(), passphraseFile('six random words')]
    const app = await encryptedApplication([old])
    await app.create()
    const to = elsewhere()
    await run(app.source.repository, to)
    const warnings: string[] = []
    const warn = (message: string) => void warnings.push(message)
    const context = testContext({ keys: accessWith(), stateDirectory: temporaryDirectory(), warn })
    const { repositories } = await listKeys(context, [to])
    expect(renderKeys({ command: 'keys list', repositories }, 'UTC')).toContain('these came with copies')
    // The very key that opens them becomes the repository's own: nothing is missing.
    await addKeys(context, noJournal, { repository: to, recipients: [old], label: null })
    expect(warnings).toEqual([])
    const withOld = { ...context, keys: accessWith(old) }
    await addKeys(withOld, noJournal, { repository: to, recipients: [first, second], label: 'safe' })
    expect(warnings).toEqual([])
    for (const means of [first, second]) {
      const path = join(temporaryDirectory(), 'back.db')
      const target = { kind: 'path' as const, path, force: false }
      const request = { repositories: [to], backup: 'app', target, source: undefined, at: undefined, dryRun: false }
      await restore({ ...context, keys: accessWith(means) }, noJournal, request)
    }
    // Another copy, and nobody who opens it.
    const blind = elsewhere()
    await run(app.source.repository, blind)
    await addKeys(context, noJournal, { repository: blind, recipients: [first], label: null })
    expect(warnings).toEqual([expect.stringMatching(/no key at hand opens the copies .* cannot open them either/)])
  })

  it('brought back into a new repository take no new backup before it has keys of its own', async () => {
    const key = keyFile()
    const app = await encryptedApplication([key])
    await app.create()
    const to = elsewhere()
    await run(app.source.repository, to)
    const context = testContext({ keys: accessWith(key), stateDirectory: temporaryDirectory() })
    const backUp = () => create(context, noJournal, requestFor({ ...app.source, repository: to }, { adopt: true }))
    expect((await backUp()).failures).toMatchObject([
      { kind: 'refused', code: 'keys_of_copies', hint: expect.stringContaining('keys add key-file=FILE') },
    ])
    await addKeys(context, noJournal, { repository: to, recipients: [key], label: null })
    expect((await backUp()).backups).toHaveLength(1)
    // Keys that were taken away are another matter.
    rmSync(join(to.path, 'keys'), { recursive: true })
    const other = { ...context, stateDirectory: temporaryDirectory() }
    const robbed = await create(other, noJournal, requestFor({ ...app.source, repository: to }, { adopt: true }))
    expect(robbed.failures).toMatchObject([{ kind: 'damage', code: 'keys_missing' }])
  })

  it('never hold anything in plain beside what is encrypted, by configuration or by what is there', async () => {
    const plain = await application()
    await plain.create()
    const key = keyFile()
    const wanted = elsewhere({ encryption: { recipients: [key], maxKeyAge: 1 } })
    expect((await run(plain.source.repository, wanted)).failures).toMatchObject([
      { kind: 'refused', code: 'copy_unencrypted' },
    ])
    const sealed = await encryptedApplication([key], { name: 'other' })
    await sealed.create()
    const { encryption: _, ...there } = sealed.source.repository
    expect((await run(plain.source.repository, there)).failures).toMatchObject([
      { kind: 'refused', code: 'copy_unencrypted' },
    ])
    expect(existsSync(join(there.path, 'app', 'source.json'))).toBe(false)
  })

  it('bring a key that was added since the last backup, for the log may be sealed for it already', async () => {
    const key = keyFile()
    const app = await encryptedApplication([key])
    await app.create()
    const to = elsewhere()
    await run(app.source.repository, to)
    const request = { repository: app.source.repository, recipients: [keyFile()], label: null }
    const { added } = await addKeys(app.context, app.journal, request)
    expect((await run(app.source.repository, to)).copies[0]?.backups).toEqual([])
    const [epoch = ''] = readdirSync(join(to.path, 'keys')).filter(name => /^\d{8}T/.test(name))
    expect(existsSync(join(to.path, 'keys', epoch, 'recipients', `${added[0]}.json`))).toBe(true)
  })

  it('see a key that somebody exchanged there, and copy nothing that it would be needed for', async () => {
    const app = await encryptedApplication([keyFile()])
    await app.create()
    const to = elsewhere()
    await run(app.source.repository, to)
    const [epoch = ''] = readdirSync(join(to.path, 'keys')).filter(name => /^\d{8}T/.test(name))
    const recipients = join(to.path, 'keys', epoch, 'recipients')
    writeFileSync(join(recipients, readdirSync(recipients)[0] ?? ''), '{}\n')
    await app.create({ type: 'incr' })
    const { copies, failures } = await run(app.source.repository, to)
    expect(failures).toMatchObject([{ kind: 'damage', code: 'keys_differ' }])
    expect(copies).toEqual([])
  })
})

describe('a copy that is refused', () => {
  it('leaves no repository behind, and is refused by a dry run too', async () => {
    const app = await application()
    await app.create({ init: true })
    const to = elsewhere({ encryption: { recipients: [keyFile()], maxKeyAge: 1 } })
    const tasks = [{ source: 'app', from: app.source.repository, to }]
    for (const dryRun of [true, false]) {
      const { failures } = await copy(testContext(), noJournal, { tasks, init: true, dryRun })
      expect(failures).toMatchObject([{ kind: 'refused', code: 'copy_unencrypted' }])
      expect(existsSync(to.path)).toBe(false)
    }
  })

  it('is one into the repository that it is made from', async () => {
    const app = await application()
    await app.create({ init: true })
    const to = elsewhere({ path: join(app.source.repository.path, 'app', 'inner') })
    const { failures } = await run(app.source.repository, to)
    expect(failures).toMatchObject([{ kind: 'refused', code: 'copy_inside' }])
    expect(existsSync(to.path)).toBe(false)
  })
})
