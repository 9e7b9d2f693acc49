import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it } from 'vitest'
import { create } from '../../../src/operations/create.js'
import { restore } from '../../../src/operations/restore.js'
import { verify } from '../../../src/operations/verify.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import type { Application } from '../application.js'
import { accessWith, encryptedApplication, holding, keyFile, requestFor } from './encrypted.js'

const secret = 'row-content-that-nobody-may-read'

function write(app: Application, text: string): void {
  const database = new Database(app.source.path)
  database.exec('CREATE TABLE IF NOT EXISTS secrets (id INTEGER PRIMARY KEY, text TEXT)')
  database.prepare('INSERT INTO secrets (text) VALUES (?)').run(text)
  database.close()
}

function texts(path: string): unknown[] {
  const database = new Database(path, { readonly: true })
  try {
    return database.prepare('SELECT text FROM secrets ORDER BY id').pluck().all()
  } finally {
    database.close()
  }
}

function restoreTo(app: Application, backup = 'app', context = app.context) {
  const path = join(temporaryDirectory(), 'restored.db')
  const target = { kind: 'path' as const, path, force: false }
  const request = { repositories: [app.source.repository], backup, target, source: app.source, at: undefined }
  return restore(context, app.journal, { ...request, dryRun: false }).then(result => ({ path, result }))
}

function verifyAll(app: Application, context = app.context, drill = false) {
  const { repository } = app.source
  return verify(context, app.journal, { repositories: [repository], sources: [app.source], targets: [], drill })
}

describe('an encrypted repository', () => {
  it('takes full, diff and incr, verifies, drills and restores them with a key file', async () => {
    const app = await encryptedApplication([keyFile()], { checks: ['SELECT text FROM secrets'] })
    const types: string[] = []
    for (const type of ['full', 'incr', 'diff', 'incr'] as const) {
      write(app, `${secret} ${type}`)
      const { backups, failures } = await app.create({ type, verify: true })
      expect(failures).toEqual([])
      types.push(backups[0]?.type ?? '')
    }
    expect(types).toEqual(['full', 'incr', 'diff', 'incr'])
    const { results } = await verifyAll(app, app.context, true)
    expect(results.map(({ status, findings }) => [status, findings])).toEqual(Array(4).fill(['ok', []]))
    expect(results.at(-1)?.level).toBe('drill')
    const { path, result } = await restoreTo(app)
    expect(texts(path)).toEqual(['full', 'incr', 'diff', 'incr'].map(type => `${secret} ${type}`))
    expect(result.checks.map(({ name, status }) => [name, status])).toContainEqual(['SELECT text FROM secrets', 'ok'])
    expect(app.warnings).toEqual([])
    // Neither rows nor the queries that read them, in any byte of any file: proofs and manifests too.
    for (const text of [secret, 'SELECT text', 'CREATE TABLE', 'SQLite format 3']) {
      expect(holding(app.source.repository.path, text), text).toEqual([])
    }
  })

  it('makes increments without the private half, and cannot read them back', async () => {
    const key = keyFile()
    const app = await encryptedApplication([key])
    write(app, secret)
    await app.create()
    const blind = { ...app.context, keys: accessWith() }
    rmSync(key.path)
    write(app, 'second')
    const request = requestFor(app.source, { type: 'incr', verify: true })
    const made = await create(blind, app.journal, request)
    expect(made).toMatchObject({ failures: [], backups: [{ type: 'incr' }] })
    await expect(restoreTo(app, 'app', blind)).rejects.toMatchObject({ kind: 'refused', code: 'key_missing' })
    const { results } = await verifyAll(app, blind)
    expect(results.map(({ status, level }) => [status, level])).toEqual(Array(2).fill(['unread', 'stored']))
    // Without what the state directory remembers, the next one is a full, and says so.
    rmSync(join(app.context.stateDirectory, 'digests'), { recursive: true })
    const again = await create(blind, app.journal, request)
    expect(again).toMatchObject({ failures: [], backups: [{ type: 'full' }] })
    expect(again.backups[0]?.warnings.join()).toContain('no key here opens it')
  })

  it('refuses a wrong key at once, with its own code', async () => {
    const app = await encryptedApplication([keyFile()])
    write(app, secret)
    await app.create()
    const wrong = { ...app.context, keys: accessWith(keyFile()) }
    const began = performance.now()
    await expect(restoreTo(app, 'app', wrong)).rejects.toMatchObject({ kind: 'refused', code: 'key_wrong' })
    expect(performance.now() - began).toBeLessThan(60_000)
  })

  it('never writes in plain where encryption is asked for', async () => {
    const app = await encryptedApplication([keyFile()])
    const plain = { ...app.source, repository: { name: 'local', path: app.source.repository.path } }
    write(app, secret)
    expect((await app.create({ sources: [plain] })).failures).toEqual([])
    for (const dryRun of [false, true]) {
      const { failures } = await app.create({ dryRun })
      expect(failures).toMatchObject([{ kind: 'refused', code: 'encryption_missing' }])
    }
  })

  it('keeps encrypting when the configuration says nothing of it', async () => {
    const app = await encryptedApplication([keyFile()])
    write(app, secret)
    await app.create()
    const plain = { ...app.source, repository: { name: 'local', path: app.source.repository.path } }
    write(app, 'second')
    expect((await app.create({ sources: [plain] })).failures).toEqual([])
    expect(holding(app.source.repository.path, secret)).toEqual([])
    expect((await verifyAll(app)).results.map(({ status }) => status)).toEqual(['ok', 'ok'])
  })

  it('names its files and manifests as the format says', async () => {
    const app = await encryptedApplication([keyFile()])
    write(app, secret)
    const { backups } = await app.create()
    const directory = join(app.source.repository.path, 'app', backups[0]?.id ?? '')
    const manifest = JSON.parse(readFileSync(join(directory, 'manifest.json'), 'utf8'))
    expect(manifest.parts.map(({ name }: { name: string }) => name)).toEqual(['app.db.zst.enc', 'blocks.idx.enc'])
    expect(manifest).toMatchObject({ digest_seed: null, image_digest: null, encryption: { format: 1 } })
  })
})
