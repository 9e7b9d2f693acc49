import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { execa } from 'execa'
import { describe, expect, it } from 'vitest'
import type { FilesSourceSettings } from '../../../src/config/settings.js'
import { create } from '../../../src/operations/create.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { gpgHome } from '../../keys/gpg-home.js'
import type { Application } from '../application.js'
import { accessWith, encryptedApplication, keyFile, passphraseFile, requestFor } from './encrypted.js'

interface Outcome {
  code: number
  stdout: string
  stderr: string
}

function recover(repository: string, args: string[], env: Record<string, string> = {}): Promise<Outcome> {
  const script = join(repository, 'recover.mjs')
  const options = { env: { ...process.env, ...env }, timeout: 60_000 }
  return new Promise(resolve => {
    execFile(process.execPath, [script, ...args], options, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr })
    })
  })
}

async function insert(app: Application, text: string): Promise<void> {
  const database = new Database(app.source.path)
  database.exec('CREATE TABLE IF NOT EXISTS texts (text TEXT)')
  database.prepare('INSERT INTO texts VALUES (?)').run(text)
  database.close()
}

function textsOf(path: string): unknown[] {
  const database = new Database(path, { readonly: true })
  try {
    return database.prepare('SELECT text FROM texts').pluck().all()
  } finally {
    database.close()
  }
}

/** A full, an incr, a diff and an incr on that; their ids. */
async function chain(app: Application): Promise<string[]> {
  const ids: string[] = []
  for (const type of ['full', 'incr', 'diff', 'incr'] as const) {
    await insert(app, type)
    const { backups, failures } = await app.create({ type })
    expect(failures).toEqual([])
    ids.push(backups[0]?.id ?? '')
  }
  return ids
}

const order = ['full', 'incr', 'diff', 'incr']

describe('recover.mjs on an encrypted repository', () => {
  it('recovers full, diff and incr with the key file, and neither without nor with another one', async () => {
    const key = keyFile()
    const app = await encryptedApplication([key])
    const ids = await chain(app)
    const { path } = app.source.repository
    const out = temporaryDirectory()
    for (const [at, id] of ids.entries()) {
      const target = join(out, `${at}.db`)
      const outcome = await recover(path, [join(path, 'app', id), target, '--key-file', key.path])
      expect(outcome, outcome.stderr).toMatchObject({ code: 0 })
      expect(textsOf(target)).toEqual(order.slice(0, at + 1))
    }
    const last = join(path, 'app', ids.at(-1) ?? '')
    const without = await recover(path, [last, join(out, 'without')])
    expect(without).toMatchObject({ code: 1, stderr: expect.stringContaining('no key at hand opens the backup') })
    const text = readFileSync(join(path, 'RECOVER.txt'), 'utf8')
    const [command = ''] = text.split('\n').filter(line => line.endsWith('--key-file /path/of/key'))
    const real = command
      .replace('SOURCE/ID', `app/${ids[0]}`)
      .replace('/path/to/new', out)
      .replace('/path/of/key', key.path)
    await execa('sh', ['-c', real], { cwd: path })
    expect(textsOf(join(out, 'OUTPUT'))).toEqual(['full'])
    const wrong = await recover(path, [last, join(out, 'wrong'), '--key-file', keyFile().path])
    expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining('no key at hand opens the backup') })
    expect(readdirSync(out).filter(name => name.startsWith('w'))).toEqual([])
  })

  it('recovers with a passphrase from a file', async () => {
    const passphrase = passphraseFile('six random words nobody guesses')
    const app = await encryptedApplication([passphrase])
    const ids = await chain(app)
    const { path } = app.source.repository
    const target = join(temporaryDirectory(), 'out.db')
    const args = [join(path, 'app', ids.at(-1) ?? ''), target, '--passphrase-file']
    const wrong = await recover(path, [...args, passphraseFile('another passphrase').path])
    expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining('did not open') })
    const outcome = await recover(path, [...args, passphrase.path])
    expect(outcome, outcome.stderr).toMatchObject({ code: 0 })
    expect(textsOf(target)).toEqual(order)
  })

  it('recovers with gpg', async () => {
    const gpg = await gpgHome()
    const publicOnly = await gpg.publicOnly()
    const app = await encryptedApplication(
      [{ kind: 'gpg', fingerprint: gpg.fingerprint }],
      {},
      { GNUPGHOME: publicOnly },
    )
    const ids = await chain(app)
    const { path } = app.source.repository
    const target = join(temporaryDirectory(), 'out.db')
    const args = [join(path, 'app', ids.at(-1) ?? ''), target]
    expect(await recover(path, args, { GNUPGHOME: publicOnly })).toMatchObject({ code: 1 })
    const outcome = await recover(path, args, { GNUPGHOME: gpg.home })
    expect(outcome, outcome.stderr).toMatchObject({ code: 0 })
    expect(textsOf(target)).toEqual(order)
  })

  it('recovers a tree, whose names are sealed too', async () => {
    const key = keyFile()
    const app = await encryptedApplication([key])
    const directory = join(temporaryDirectory(), 'uploads')
    mkdirSync(join(directory, 'inner'), { recursive: true })
    writeFileSync(join(directory, 'inner', 'telling-name.txt'), 'first')
    const { kind: _kind, path: _path, checks: _checks, ...common } = app.source
    const source: FilesSourceSettings = {
      ...common,
      kind: 'files',
      name: 'uploads',
      paths: [directory],
      exclude: ['*.telling-pattern'],
      include: [],
      checks: [],
    }
    const made = await create(app.context, app.journal, requestFor(source, { init: true }))
    expect(made.failures).toEqual([])
    writeFileSync(join(directory, 'inner', 'telling-name.txt'), 'second')
    // Of the private half nothing is needed.
    const blind = { ...app.context, keys: accessWith() }
    const again = await create(blind, app.journal, requestFor(source, { type: 'incr' }))
    expect(again).toMatchObject({ failures: [], backups: [{ type: 'incr' }] })
    const repository = app.source.repository.path
    const target = join(temporaryDirectory(), 'out')
    const id = again.backups[0]?.id ?? ''
    const outcome = await recover(repository, [join(repository, 'uploads', id), target, '--key-file', key.path])
    expect(outcome, outcome.stderr).toMatchObject({ code: 0 })
    expect(readFileSync(join(target, directory, 'inner', 'telling-name.txt'), 'utf8')).toBe('second')
  })

  it('tells what was exchanged between two backups of the same source', async () => {
    const key = keyFile()
    const app = await encryptedApplication([key])
    await insert(app, 'one')
    const one = (await app.create({ type: 'full' })).backups[0]?.id ?? ''
    const two = (await app.create({ type: 'full' })).backups[0]?.id ?? ''
    const { path } = app.source.repository
    for (const name of ['app.db.zst.enc', 'blocks.idx.enc', 'manifest.json']) {
      const copy = join(temporaryDirectory(), 'copy')
      cpSync(path, copy, { recursive: true })
      cpSync(join(copy, 'app', one, name), join(copy, 'app', two, name))
      const args = [join(copy, 'app', two), join(temporaryDirectory(), 'out'), '--key-file', key.path]
      expect(await recover(copy, args), name).toMatchObject({ code: 1 })
    }
  })
})
