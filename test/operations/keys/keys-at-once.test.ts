import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { noJournal } from '../../../src/cli/journal.js'
import { copy } from '../../../src/operations/copy.js'
import { addKeys } from '../../../src/operations/keys/add-keys.js'
import { listKeys } from '../../../src/operations/keys/list-keys.js'
import { removeKey } from '../../../src/operations/keys/remove-key.js'
import { rotateKeys } from '../../../src/operations/keys/rotate-keys.js'
import { restore } from '../../../src/operations/restore.js'
import { beginEpoch } from '../../../src/operations/sealing/begin-epoch.js'
import { readOwnEpochs } from '../../../src/repository/keys/key-room.js'
import { openRepository } from '../../../src/repository/open.js'
import { testContext } from '../../helpers/context.js'
import { lockRequest } from '../../helpers/lock-request.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { type Application, application } from '../application.js'
import { accessWith, encryptedApplication, keyFile } from '../sealing/encrypted.js'

type Means = Parameters<typeof accessWith>

/** The operator's context with other keys at hand. */
function holding(app: Application, ...means: Means): Application['context'] {
  return { ...app.context, keys: accessWith(...means) }
}

async function opens(app: Application, backup: string, ...means: Means): Promise<boolean> {
  const target = { kind: 'path' as const, path: join(temporaryDirectory(), 'restored.db'), force: false }
  const request = { repositories: [app.source.repository], backup, target, source: app.source, at: undefined }
  return restore(holding(app, ...means), app.journal, { ...request, dryRun: false }).then(
    () => true,
    error => {
      expect(error).toMatchObject({ kind: 'refused', code: expect.stringMatching(/^key_/) })
      return false
    },
  )
}

async function idsOf({ context, source }: Application): Promise<string[]> {
  const { repositories } = await listKeys(context, [source.repository])
  return repositories[0]?.epochs.find(({ current }) => current)?.recipients.map(({ id }) => id) ?? []
}

/** The id of a key file in a repository. */
async function idOf(app: Application, { path }: ReturnType<typeof keyFile>): Promise<string> {
  return (await idsOf(app)).find(id => readFileSync(path, 'utf8').includes(id.slice(4))) ?? ''
}

function epochs({ source }: Application): string[] {
  return readdirSync(join(source.repository.path, 'keys')).filter(name => /^\d{8}T/.test(name))
}

const rotation = { without: [], dryRun: false }

/** What a rotation that was killed just before its last word leaves. */
async function interruptedRotation(app: Application, ...recipients: Means): Promise<void> {
  const { repository } = app.source
  const opened = await openRepository(repository)
  const [current] = (await readOwnEpochs(opened.storage, opened.id)).slice(-1)
  const keys = await app.context.keys.open(opened.storage, current?.id ?? '')
  const wanted = recipients.map(settings => ({ settings, label: null, since: new Date() }))
  const made = await beginEpoch(app.context, opened, wanted, { id: current?.id ?? '', keys })
  rmSync(join(repository.path, 'keys', current?.id ?? '', 'next.json'))
  expect(made.counts).toBe(true)
}

describe('changes of the keys at the same time', () => {
  it('wait for one another, or are told who is at it; the keys are one line and backups go on', async () => {
    const key = keyFile()
    const app = await encryptedApplication([key])
    const backup = (await app.create()).backups[0]?.id ?? ''
    const { repository } = app.source
    const opened = await openRepository(repository)
    const rotate = (lockWaitSeconds: number) =>
      rotateKeys({ ...holding(app, key), lockWaitSeconds }, app.journal, { repository, ...rotation })
    const held = await opened.storage.lock('keys', 'writer', 'exclusive', lockRequest({ purpose: 'keys remove' }))
    const id = await idOf(app, key)
    const changes = [
      rotate(0),
      removeKey(app.context, app.journal, { repository, id, force: false, dryRun: false }),
      addKeys(app.context, app.journal, { repository, recipients: [keyFile()], label: null }),
    ]
    const refusal = {
      kind: 'locked',
      message: expect.stringContaining('keys remove'),
      hint: expect.stringContaining('--wait'),
    }
    for (const change of await Promise.allSettled(changes)) expect(change).toMatchObject({ reason: refusal })
    // Who only looks, and who backs up, needs no lock.
    await rotateKeys(app.context, app.journal, { repository, ...rotation, dryRun: true })
    expect((await app.create()).failures).toEqual([])
    await held.release()
    await Promise.all([rotate(60), rotate(60), rotate(60)])
    expect(await readOwnEpochs(opened.storage, opened.id)).toHaveLength(4)
    expect((await app.create()).failures).toEqual([])
    expect(await opens(app, backup, key)).toBe(true)
  })

  it('whichever of two epochs comes first counts, also where nothing kept the other run away', async () => {
    const key = keyFile()
    const app = await encryptedApplication([key])
    await app.create()
    const opened = await openRepository(app.source.repository)
    const [first] = await readOwnEpochs(opened.storage, opened.id)
    const keys = await app.context.keys.open(opened.storage, first?.id ?? '')
    const wanted = [{ settings: key, label: null, since: new Date() }]
    const begin = () => beginEpoch(app.context, opened, wanted, { id: first?.id ?? '', keys })
    const made = await Promise.all([begin(), begin(), begin()])
    const [counting, ...more] = made.filter(({ counts }) => counts)
    expect(more).toEqual([])
    const line = await readOwnEpochs(opened.storage, opened.id)
    expect(line.map(({ id }) => id)).toEqual([first?.id, counting?.epoch.id])
    expect((await app.create()).failures).toEqual([])
  })

  it('somebody let in, or taken out, during a rotation is so in the new epoch too', async () => {
    const [stays, goes, comes] = [keyFile(), keyFile(), keyFile()]
    const app = await encryptedApplication([stays, goes])
    await app.create()
    const { repository } = app.source
    const gone = await idOf(app, goes)
    const patient = { ...app.context, lockWaitSeconds: 60 }
    await Promise.all([
      rotateKeys(patient, app.journal, { repository, ...rotation }).catch(() => {}),
      removeKey(patient, app.journal, { repository, id: gone, force: false, dryRun: false }),
      addKeys(patient, app.journal, { repository, recipients: [comes], label: null }),
    ])
    expect(await idsOf(app)).not.toContain(gone)
    expect(await idsOf(app)).toContain(await idOf(app, comes))
  })
})

describe('an interrupted rotation', () => {
  it('counts for nothing, is passed over by the next one, and keeps nobody out', async () => {
    const [old, fresh] = [keyFile(), keyFile()]
    const app = await encryptedApplication([old])
    const backup = (await app.create()).backups[0]?.id ?? ''
    const { repository } = app.source
    await interruptedRotation(app, old)
    expect((await app.create()).failures).toEqual([])
    const opened = await openRepository(repository)
    expect(await readOwnEpochs(opened.storage, opened.id)).toHaveLength(1)
    await rotateKeys(app.context, app.journal, { repository, ...rotation })
    await addKeys(app.context, app.journal, { repository, recipients: [fresh], label: null })
    expect(epochs(app)).toHaveLength(3)
    // Through the epoch that counts, although another one follows the first as well.
    for (const epoch of epochs(app)) {
      rmSync(join(repository.path, 'keys', epoch, 'recipients', `${await idOf(app, old)}.json`), { force: true })
    }
    expect(await opens(app, backup, fresh)).toBe(true)
    const output = join(temporaryDirectory(), 'out.db')
    const { execFileSync } = await import('node:child_process')
    const script = join(repository.path, 'recover.mjs')
    execFileSync(process.execPath, [script, join(repository.path, 'app', backup), output, '--key-file', fresh.path])
    expect(existsSync(output)).toBe(true)
  })

  it('does not keep a recipient in whom only it knows', async () => {
    const [one, two] = [keyFile(), keyFile()]
    const app = await encryptedApplication([one, two])
    await app.create()
    const { repository } = app.source
    await interruptedRotation(app, one)
    const id = await idOf(app, one)
    await removeKey(app.context, app.journal, { repository, id, force: false, dryRun: false })
    expect(await idsOf(app)).toEqual([await idOf(app, two)])
    for (const epoch of epochs(app)) {
      expect(readdirSync(join(repository.path, 'keys', epoch, 'recipients'))).not.toContain(`${id}.json`)
    }
  })
})

describe('keys add, run again after it was killed', () => {
  it('lets in who is still missing, and says who was in already', async () => {
    const [first, second, third] = [keyFile(), keyFile(), keyFile()]
    const app = await encryptedApplication([first])
    await app.create()
    const { repository } = app.source
    await addKeys(app.context, app.journal, { repository, recipients: [second], label: null })
    const again = await addKeys(app.context, app.journal, { repository, recipients: [second, third], label: null })
    expect(again.added).toEqual([await idOf(app, third)])
    expect(app.warnings.join()).toContain(`${await idOf(app, second)} can open`)
  })

  it('finishes a repository that had just become an encrypted one, with the key that is named', async () => {
    const app = await application()
    await app.create()
    const key = keyFile()
    const { repository } = app.source
    const add = () => addKeys(app.context, app.journal, { repository, recipients: [key], label: null })
    const begun = await add()
    // Killed after the first epoch counts and before this host knew it.
    rmSync(join(app.context.stateDirectory, 'keys'), { recursive: true })
    rmSync(join(repository.path, 'keys', 'hosts'), { recursive: true })
    const restarted = { ...app.context, keys: accessWith() }
    const again = await addKeys(restarted, app.journal, { repository, recipients: [key], label: null })
    expect(again).toMatchObject({ began: false, added: begun.added })
    expect((await listKeys(app.context, [repository])).repositories[0]?.hosts).toMatchObject([{ is_trusted: true }])
    await expect(add()).rejects.toMatchObject({ code: 'recipient_exists' })
  })
})

describe('keys remove', () => {
  it('never takes the last one from what was copied here from another repository', async () => {
    const [shared, own, spare] = [keyFile(), keyFile(), keyFile()]
    const origin = await encryptedApplication([shared])
    const backup = (await origin.create()).backups[0]?.id ?? ''
    const there = await encryptedApplication([shared, own])
    await there.create({ sources: [{ ...there.source, name: 'other' }] })
    const { repository } = there.source
    const task = { source: 'app', from: origin.source.repository, to: repository }
    // Its host made that repository, so that its word for what comes with copies counts there.
    const bring = () => copy(there.context, noJournal, { tasks: [task], init: false, dryRun: false })
    expect((await bring()).failures).toEqual([])
    const id = await idOf(there, shared)
    const remove = (wishes = {}) =>
      removeKey(there.context, there.journal, { repository, id, force: false, dryRun: false, ...wishes })
    await expect(remove({ force: true })).rejects.toMatchObject({
      code: 'last_recipient',
      message: expect.stringContaining('another repository'),
    })
    const request = { repository: origin.source.repository, recipients: [spare], label: null }
    await addKeys(origin.context, origin.journal, request)
    await bring()
    await expect(remove()).rejects.toMatchObject({ code: 'others_untested' })
    await removeKey(holding(there, own, spare), there.journal, { repository, id, force: false, dryRun: false })
    expect(await opens(there, backup, spare)).toBe(true)
    expect(await opens(there, backup, shared)).toBe(false)
  })

  it('takes out also who is left in old epochs only', async () => {
    const [stays, goes] = [keyFile(), keyFile()]
    const app = await encryptedApplication([stays, goes])
    const backup = (await app.create()).backups[0]?.id ?? ''
    const { repository } = app.source
    const id = await idOf(app, goes)
    await rotateKeys(app.context, app.journal, { repository, without: [id], dryRun: false })
    expect(await opens(app, backup, goes)).toBe(true)
    await removeKey(holding(app, stays), app.journal, { repository, id, force: false, dryRun: false })
    expect(await opens(app, backup, goes)).toBe(false)
    expect(await opens(app, backup, stays)).toBe(true)
  })
})

it('what killed runs left of files below keys goes an hour later, and no copy takes it along', async () => {
  const app = await encryptedApplication([keyFile()])
  await app.create()
  const { path } = app.source.repository
  const [epoch = ''] = epochs(app)
  const places = ['', 'hosts', epoch, `${epoch}/recipients`].map(name => join(path, 'keys', name))
  for (const place of places) {
    mkdirSync(place, { recursive: true })
    writeFileSync(join(place, '.partial-x.json-00000000'), 'half')
    const long = app.context.now().getTime() / 1000 - 7200
    utimesSync(join(place, '.partial-x.json-00000000'), long, long)
    writeFileSync(join(place, '.partial-y.json-00000000'), 'half')
  }
  const to = { name: 'offsite', path: join(temporaryDirectory(), 'offsite') }
  const task = { source: 'app', from: app.source.repository, to }
  expect((await copy(testContext(), noJournal, { tasks: [task], init: true, dryRun: false })).failures).toEqual([])
  expect(readdirSync(to.path, { recursive: true }).join()).not.toContain('.partial-')
  await rotateKeys(app.context, app.journal, { repository: app.source.repository, ...rotation })
  for (const place of places) {
    expect(readdirSync(place).filter(name => name.startsWith('.partial-'))).toEqual(['.partial-y.json-00000000'])
  }
})
