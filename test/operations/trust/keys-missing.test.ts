import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { copy } from '../../../src/operations/copy.js'
import { create } from '../../../src/operations/create.js'
import { addKeys } from '../../../src/operations/keys/add-keys.js'
import { archiveWal } from '../../../src/operations/wal/archive.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { type Application, application, listeningJournal } from '../application.js'
import { accessWith, encryptedApplication, keyFile, requestFor } from '../sealing/encrypted.js'
import { clusterSource, settingsOf, walCalls } from '../wal/calls.js'
import { intruderOf } from './bench.js'

/** A repository with an encrypted backup whose keys are gone. */
async function robbed(): Promise<Application> {
  const app = await encryptedApplication([keyFile()])
  expect((await app.create()).failures).toEqual([])
  rmSync(join(app.source.repository.path, 'keys'), { recursive: true })
  return app
}

const missing = { code: 'keys_missing', message: expect.stringContaining('its keys are missing') }

describe('a repository whose keys are gone, for a host that knows nothing of them', () => {
  it('takes no first backup of another source in plain, and the hint says how to put them back', async () => {
    const app = await robbed()
    const { path } = app.source.repository
    const other = { ...app.source, name: 'other', repository: { name: 'local', path } }
    const { failures, backups } = await create(intruderOf(app), app.journal, requestFor(other))
    expect(backups).toEqual([])
    expect(failures).toMatchObject([{ ...missing, hint: expect.stringContaining(`/keys ${path}`) }])
    expect(existsSync(join(path, 'other', 'source.json'))).toBe(false)
    // The host that made it puts them back, and goes on.
    const again = await create(app.context, app.journal, requestFor({ ...app.source, name: 'other' }))
    expect(again.failures).toEqual([])
  })

  it('takes no first segment of WAL in plain, of a new source or of one that is all sealed', async () => {
    const app = await robbed()
    const at = await walCalls()
    const [name = '', next = ''] = at.ready([1, 2])
    const into = clusterSource(app.source.repository.path)
    const request = { cwd: at.data, source: undefined, ahead: null, dryRun: false }
    const elsewhere = settingsOf([into], [into.repository])
    const refused = archiveWal(at.context, { ...request, settings: elsewhere, path: `pg_wal/${name}` })
    await expect(refused).rejects.toMatchObject({ kind: 'refused', ...missing })
    expect(existsSync(join(app.source.repository.path, 'main'))).toBe(false)

    const key = keyFile()
    const repository = { name: 'local', path: at.repository }
    const context = { ...at.context, keys: accessWith(key), stateDirectory: join(temporaryDirectory(), 'state') }
    await addKeys(context, listeningJournal(), { repository, recipients: [key], label: null })
    await at.archiveFile(name, { ahead: null }, context)
    rmSync(join(at.repository, 'keys'), { recursive: true })
    await expect(at.archiveFile(next, { ahead: null })).rejects.toMatchObject({ kind: 'refused', ...missing })
  })

  it('takes no copy in plain', async () => {
    const app = await robbed()
    const plain = await application()
    await plain.create({ init: true })
    const source = 'app'
    const to = { name: 'copy', path: app.source.repository.path }
    rmSync(join(to.path, 'app', 'source.json'))
    const tasks = [{ source: source, from: plain.source.repository, to }]
    const { failures } = await copy(intruderOf(app), plain.journal, { tasks, init: false, dryRun: false })
    expect(failures).toMatchObject([missing])
  })
})

describe('a repository that never had keys', () => {
  it('takes the first of several sources, and WAL beside them', async () => {
    const app = await application()
    await app.create({ init: true })
    const other = await create(app.context, app.journal, requestFor({ ...app.source, name: 'other' }))
    expect(other.failures).toEqual([])
    const at = await walCalls()
    const [name = '', far = ''] = at.ready([1, 9])
    for (const one of [name, far]) {
      expect(await at.archiveFile(one, { ahead: null })).toMatchObject({ result: 'stored' })
    }
  })
})
