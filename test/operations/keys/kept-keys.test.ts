import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { create } from '../../../src/operations/create.js'
import { addKeys } from '../../../src/operations/keys/add-keys.js'
import { keepKeys } from '../../../src/operations/keys/kept-keys.js'
import { listKeys } from '../../../src/operations/keys/list-keys.js'
import { removeKey } from '../../../src/operations/keys/remove-key.js'
import { rotateKeys } from '../../../src/operations/keys/rotate-keys.js'
import { restore } from '../../../src/operations/restore.js'
import { walSealing } from '../../../src/operations/sealing/wal-writing.js'
import { verify } from '../../../src/operations/verify.js'
import { openRepository } from '../../../src/repository/open.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import type { Application } from '../application.js'
import { accessWith, encryptedApplication, everyFile, keyFile, requestFor } from '../sealing/encrypted.js'

/** Everything below `keys`, by name. */
function keysOf(directory: string): Map<string, string> {
  const found = everyFile(join(directory, 'keys')).filter(path => path.endsWith('.json') && !path.includes('/.locks/'))
  return new Map(found.sort().map(path => [path.slice(directory.length + 1), readFileSync(path, 'utf8')]))
}

function keptBy(app: Application): string {
  const kept = join(app.context.stateDirectory, 'keys', 'kept')
  return join(kept, readdirSync(kept)[0] ?? '')
}

/** Another host that backs another source up into the same repository, with the same key or none. */
function secondHost(app: Application, ...means: Parameters<typeof accessWith>) {
  const warnings: string[] = []
  const context = {
    ...app.context,
    host: 'db2',
    stateDirectory: join(temporaryDirectory(), 'state'),
    keys: accessWith(...means),
    warn: (message: string) => void warnings.push(message),
  }
  const source = { ...app.source, name: 'second' }
  return { context, warnings, create: () => create(context, app.journal, requestFor(source)) }
}

async function restores(app: Application, key: ReturnType<typeof keyFile>): Promise<boolean> {
  const path = join(temporaryDirectory(), 'restored.db')
  const context = { ...app.context, stateDirectory: join(temporaryDirectory(), 'bare'), keys: accessWith(key) }
  const target = { kind: 'path' as const, path, force: false }
  const request = { repositories: [app.source.repository], backup: 'app', target, source: undefined, at: undefined }
  return restore(context, app.journal, { ...request, dryRun: false }).then(
    () => true,
    () => false,
  )
}

const everything = ({ source: { repository } }: Application) => {
  return { repositories: [repository], sources: [], targets: [], drill: false }
}

async function recipients(app: Application): Promise<string[]> {
  const { repositories } = await listKeys(app.context, [app.source.repository])
  return repositories[0]?.epochs.find(({ current }) => current)?.recipients.map(({ id }) => id) ?? []
}

describe('what opens a repository', () => {
  it('is kept by the host, 0600, and put back by its next create when it was taken away', async () => {
    const key = keyFile()
    const app = await encryptedApplication([key])
    await app.create()
    const { path } = app.source.repository
    await rotateKeys(app.context, app.journal, { repository: app.source.repository, without: [], dryRun: false })
    const before = keysOf(path)
    expect(keysOf(keptBy(app))).toEqual(before)
    for (const file of everyFile(keptBy(app))) expect(statSync(file).mode & 0o777).toBe(0o600)
    rmSync(join(path, 'keys'), { recursive: true })
    expect(await restores(app, key)).toBe(false)
    const { results } = await verify(app.context, app.journal, everything(app))
    expect(results[0]?.findings).toContainEqual({
      part: expect.stringMatching(/epoch\.json$/),
      problem: expect.stringContaining('the next create puts it back'),
    })
    expect((await app.create({ dryRun: true })).failures).toEqual([])
    expect(readdirSync(path)).not.toContain('keys')
    app.warnings.length = 0
    expect((await app.create()).failures).toEqual([])
    expect(app.warnings).toEqual([
      expect.stringMatching(/were missing and put back: keys\/.*find out who removed them/),
    ])
    expect(keysOf(path)).toEqual(before)
    expect(await restores(app, key)).toBe(true)
    app.warnings.length = 0
    await app.create()
    expect(app.warnings).toEqual([])
  })

  it('is put back file by file, whichever is missing', async () => {
    const key = keyFile()
    const app = await encryptedApplication([key, keyFile()])
    await app.create()
    await rotateKeys(app.context, app.journal, { repository: app.source.repository, without: [], dryRun: false })
    const { path } = app.source.repository
    const before = keysOf(path)
    const repository = await openRepository(app.source.repository)
    for (const name of before.keys()) {
      rmSync(join(path, name))
      await keepKeys(app.context, repository)
      expect(keysOf(path), name).toEqual(before)
    }
    expect(await restores(app, key)).toBe(true)
  })

  it('is put back from a damaged memory as far as that is whole, and by hand from it', async () => {
    const key = keyFile()
    const app = await encryptedApplication([key])
    await app.create()
    const { path } = app.source.repository
    const before = keysOf(path)
    const [name = ''] = [...before.keys()].filter(one => one.includes('/recipients/'))
    const copy = join(temporaryDirectory(), 'kept')
    cpSync(keptBy(app), copy, { recursive: true })
    writeFileSync(join(keptBy(app), name), '{}')
    rmSync(join(path, 'keys'), { recursive: true })
    expect((await app.create()).failures).toEqual([])
    expect([...keysOf(path).keys()]).toEqual([...before.keys()].filter(one => one !== name))
    rmSync(join(path, 'keys'), { recursive: true })
    cpSync(join(copy, 'keys'), join(path, 'keys'), { recursive: true })
    expect(await restores(app, key)).toBe(true)
  })

  it('is put back for a server that archives', async () => {
    const app = await encryptedApplication([keyFile()])
    await app.create()
    const repository = await openRepository(app.source.repository)
    rmSync(join(app.source.repository.path, 'keys'), { recursive: true })
    expect(await walSealing(app.context, repository, undefined)).toMatchObject({ epoch: expect.any(String) })
  })

  it('of a repository in plain is nothing', async () => {
    const { application } = await import('../application.js')
    const app = await application()
    await app.create()
    expect(readdirSync(app.context.stateDirectory)).not.toContain('keys')
  })
})

describe('a recipient that was taken out', () => {
  it('is put back by no host that keeps him; one whom somebody only removed is', async () => {
    const [stays, goes] = [keyFile(), keyFile()]
    const app = await encryptedApplication([stays, goes])
    await app.create()
    const { repository } = app.source
    const other = secondHost(app)
    expect((await other.create()).failures).toEqual([])
    const id = (await recipients(app)).find(one => readFileSync(goes.path, 'utf8').includes(one.slice(4))) ?? ''
    const context = { ...app.context, keys: accessWith(stays) }
    await removeKey(context, app.journal, { repository, id, force: false, dryRun: false })
    other.warnings.length = 0
    expect([(await app.create()).failures, (await other.create()).failures]).toEqual([[], []])
    expect(other.warnings.filter(text => text.includes('put back'))).toEqual([])
    expect(await recipients(app)).not.toContain(id)
    const [epoch = ''] = readdirSync(join(repository.path, 'keys')).filter(name => /^\d/.test(name))
    // The word of nobody who opens it takes nobody out.
    const removals = join(repository.path, 'keys', epoch, 'removed')
    const [left = ''] = await recipients(app)
    const forged = readFileSync(join(removals, readdirSync(removals)[0] ?? ''), 'utf8').replaceAll(id, left)
    writeFileSync(join(removals, `${left}-0123456789abcdef.json`), forged)
    rmSync(join(repository.path, 'keys', epoch, 'recipients', `${left}.json`))
    expect((await other.create()).failures).toEqual([])
    expect(await recipients(app)).toEqual([left])
    // Let in again he has another wrap, which no earlier word takes out.
    await addKeys(context, app.journal, { repository, recipients: [goes], label: null })
    expect((await other.create()).failures).toEqual([])
    rmSync(join(repository.path, 'keys', epoch, 'recipients', `${id}.json`))
    await other.create()
    expect(await recipients(app)).toContain(id)
  })

  it('by somebody without a key stays out for this host, which says what others do', async () => {
    const app = await encryptedApplication([keyFile(), keyFile()])
    await app.create()
    const { repository } = app.source
    const [id = ''] = await recipients(app)
    const context = { ...app.context, keys: accessWith() }
    await removeKey(context, app.journal, { repository, id, force: true, dryRun: false })
    expect(app.warnings.join()).toContain('other hosts that keep')
    await app.create()
    expect(await recipients(app)).not.toContain(id)
  })
})

it('a state directory that cannot be written is said, and the backup is made', async () => {
  const app = await encryptedApplication([keyFile()])
  await app.create()
  const kept = join(app.context.stateDirectory, 'keys', 'kept')
  renameSync(kept, `${kept}-before`)
  writeFileSync(kept, 'in the way')
  expect((await app.create()).failures).toEqual([])
  expect(app.warnings.join()).toContain('cannot keep what opens')
  rmSync(kept)
  mkdirSync(kept)
})
