import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { HeadObjectCommand } from '@aws-sdk/client-s3'
import { describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { faultProxy } from '../helpers/fault-proxy.js'
import { startS3 } from '../helpers/s3-server.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { changeDatabase, expectedState, makeDatabase, stateOf } from './helpers/database.js'
import { run } from './helpers/run.js'

const server = await startS3()

/** A database and a directory, backed up into an archive class whose objects cannot be read, as on AWS. */
async function archivePlace(encrypted: boolean) {
  const settings = await server.newPlace()
  const proxy = await faultProxy(server.endpoint)
  const directory = temporaryDirectory()
  const [database, tree, key] = [join(directory, 'app.db'), join(directory, 'tree'), join(directory, 'key')]
  await makeDatabase(database)
  mkdirSync(tree)
  writeFileSync(join(tree, 'a.txt'), 'first')
  if (encrypted) expect((await run(['keys', 'create', key])).code).toBe(0)
  const s3 = {
    bucket: settings.bucket,
    prefix: settings.prefix,
    endpoint: proxy.endpoint,
    storage_class: 'DEEP_ARCHIVE',
  }
  const encryption = encrypted ? { encryption: { recipients: [{ key_file: key }] } } : {}
  const local = { path: join(directory, 'local') }
  const sources = { app: { kind: 'sqlite', path: database }, tree: { kind: 'files', paths: [tree] } }
  const config = join(directory, 'config.yaml')
  const configure = (placed: { repository: 'offsite' } | { repository: 'local'; copies: string[] }) => {
    const both = Object.entries(sources).map(([name, source]) => [name, { ...source, ...placed }])
    const document = {
      state: join(directory, 'state'),
      repositories: { offsite: { s3, ...encryption }, ...('copies' in placed ? { local } : {}) },
      sources: Object.fromEntries(both),
    }
    writeFileSync(config, stringify(document))
  }
  configure({ repository: 'offsite' })
  /** Reads of what lies in an archive, each refused. */
  const frozen: string[] = []
  proxy.rule = async (_, what) => {
    const { pathname, searchParams } = new URL(what.slice(what.indexOf(' ') + 1), 'http://x')
    if (!what.startsWith('GET') || searchParams.has('list-type') || searchParams.has('uploads')) return undefined
    const Key = decodeURIComponent(pathname.slice(settings.bucket.length + 2))
    const head = new HeadObjectCommand({ Bucket: settings.bucket, Key })
    const { StorageClass } = await server.client.send(head).catch(() => ({ StorageClass: undefined }))
    if (StorageClass !== 'DEEP_ARCHIVE') return undefined
    frozen.push(Key)
    return 'frozen'
  }
  return {
    directory,
    database,
    tree,
    frozen,
    configure,
    melt() {
      proxy.rule = () => undefined
    },
    async json(...words: string[]) {
      const { code, stdout, stderr } = await run([...words, '--config', config, '--json'], { env: server.env })
      const error = stderr === '' ? undefined : JSON.parse(stderr.trim().split('\n').at(-1) ?? '').error
      return { code, document: stdout === '' ? undefined : JSON.parse(stdout), error, stderr }
    },
  }
}

const types = ({ backups }: { backups: { type: string }[] }) => backups.map(({ type }) => type)

describe.each([
  ['in plain', false],
  ['encrypted', true],
])('an archive class, %s', (_, encrypted) => {
  it('is written to by every kind of backup without reading anything frozen, also where the state is lost', async () => {
    const { json, database, tree, directory, frozen, melt } = await archivePlace(encrypted)
    expect((await json('create', '--init')).code).toBe(0)
    for (const [step, type] of (['incr', 'diff', 'incr'] as const).entries()) {
      await changeDatabase(database, step + 1)
      writeFileSync(join(tree, 'a.txt'), `changed ${step}`)
      // The second host, or the first without its memory: what an increment needs comes from the bucket.
      if (step > 0) rmSync(join(directory, 'state'), { recursive: true })
      const { code, document, error, stderr } = await json('create', '--type', type)
      expect(types(document)).toEqual([type, type])
      // A host without its memory has a new key to sign with: it is let in before its backups count.
      const isStranger = encrypted && step > 0
      expect([code, error?.code]).toEqual(isStranger ? [3, 'host_untrusted'] : [0, undefined])
      if (!isStranger) expect(stderr).toBe('')
      else expect((await json('keys', 'trust', document.backups[0].unvouched)).code).toBe(0)
    }
    expect((await json('list')).document.backups).toHaveLength(8)
    expect((await json('prune', '--keep-last', '9', '--dry-run')).code).toBe(0)
    expect(frozen).toEqual([])
    melt()
    expect((await json('verify')).code).toBe(0)
    const to = join(directory, 'restored.db')
    expect((await json('restore', 'app', '--to', to)).code).toBe(0)
    expect(stateOf(to)).toEqual(expectedState(3))
  })
})

describe('create --verify', () => {
  it('into an archive class is refused before anything is written, with what to do instead', async () => {
    const { json, frozen } = await archivePlace(false)
    const { code, error, document } = await json('create', '--verify', '--init')
    expect([code, error.code]).toEqual([2, 'archive_unreadable'])
    expect(error.message).toMatch(/DEEP_ARCHIVE/)
    expect(error.hint).toMatch(/without --verify/)
    expect(document?.backups ?? []).toEqual([])
    expect(frozen).toEqual([])
    expect((await json('list')).code).toBe(5)
  })

  it('reads back what a readable repository holds, and copies it to an archive class', async () => {
    const { json, configure, frozen } = await archivePlace(false)
    configure({ repository: 'local', copies: ['offsite'] })
    const { code, document } = await json('create', '--verify', '--init')
    expect([code, document.backups.length, document.copies.length, frozen]).toEqual([0, 2, 2, []])
  })
})
