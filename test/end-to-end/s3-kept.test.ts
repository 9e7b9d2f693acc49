import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  DeleteObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
} from '@aws-sdk/client-s3'
import { describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import type { S3Settings } from '../../src/repository/storage/s3/settings.js'
import { conditionalProxy } from '../helpers/conditional-proxy.js'
import { faultProxy } from '../helpers/fault-proxy.js'
import { startS3 } from '../helpers/s3-server.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { changeDatabase, expectedState, makeDatabase, stateOf } from './helpers/database.js'
import { run } from './helpers/run.js'

const server = await startS3()

/** A database with a configuration whose repository has these keys beside bucket and prefix. */
async function configured(settings: S3Settings, keys: Record<string, unknown>, endpoint = server.endpoint) {
  const directory = temporaryDirectory()
  const database = join(directory, 'app.db')
  const config = join(directory, 'config.yaml')
  await makeDatabase(database)
  const s3 = { bucket: settings.bucket, prefix: settings.prefix, endpoint, ...keys }
  const document = {
    state: join(directory, 'state'),
    repositories: { offsite: { s3 } },
    sources: { app: { kind: 'sqlite', path: database } },
  }
  writeFileSync(config, stringify(document))
  const json = async (...words: string[]) => {
    const { code, stdout, stderr } = await run([...words, '--config', config, '--json'], { env: server.env })
    return { code, document: stdout === '' ? undefined : JSON.parse(stdout), stderr }
  }
  return { directory, database, json }
}

async function objects({ bucket }: S3Settings): Promise<{ name: string; storageClass: string | undefined }[]> {
  const { Contents = [] } = await server.client.send(new ListObjectsV2Command({ Bucket: bucket }))
  return Contents.map(({ Key = '', StorageClass }) => ({
    name: Key.split('/').at(-1) ?? '',
    storageClass: StorageClass,
  }))
}

describe('an archive class', () => {
  it('holds the data alone: whatever the next run needs stays readable', async () => {
    const settings = await server.newPlace()
    const { json, database } = await configured(settings, { storage_class: 'GLACIER' })
    expect((await json('create', '--init')).code).toBe(0)
    const found = await objects(settings)
    expect(found.filter(({ storageClass }) => storageClass === 'GLACIER').map(({ name }) => name)).toEqual([
      'app.db.zst',
    ])
    await changeDatabase(database, 1)
    expect((await json('create', '--type', 'incr')).document.backups[0].type).toBe('incr')
    const archived = (await objects(settings)).filter(({ storageClass }) => storageClass === 'GLACIER')
    expect(archived.map(({ name }) => name).sort()).toEqual(['app.db.zst', 'blocks.zst'])
  })

  // The thaw is a fake by the proxy: no server that can be installed has one (anchors/s3-server.md).
  it('is listed, unread by a verify, thawed by a restore that goes on when it is run again', async () => {
    const settings = await server.newPlace()
    const proxy = await faultProxy(server.endpoint)
    const { json, directory, database } = await configured(settings, { storage_class: 'DEEP_ARCHIVE' }, proxy.endpoint)
    expect((await json('create', '--init')).code).toBe(0)
    await changeDatabase(database, 1)
    expect((await json('create', '--type', 'incr')).code).toBe(0)
    const asked: string[] = []
    proxy.rule = (_, what) => {
      if (!/(app\.db|blocks)\.zst/.test(what)) return undefined
      if (what.startsWith('POST') && what.includes('restore')) asked.push(what)
      return what.startsWith('POST') ? 'accepted' : what.startsWith('GET') ? 'frozen' : undefined
    }
    expect((await json('list')).document.backups).toHaveLength(2)
    const verify = await json('verify')
    expect(verify.code).toBe(3)
    expect(verify.document.results.map(({ status }: { status: string }) => status)).toEqual(['unread', 'unread'])
    expect(asked).toEqual([])
    const to = join(directory, 'restored.db')
    const early = await json('restore', 'app', '--to', to)
    expect([early.code, JSON.parse(early.stderr).error]).toEqual([
      1,
      expect.objectContaining({ code: 'thaw_requested', hint: expect.stringContaining('up to 12 hours') }),
    ])
    expect(asked).toHaveLength(2)
    proxy.rule = () => undefined
    expect((await json('restore', 'app', '--to', to)).code).toBe(0)
    expect(stateOf(to)).toEqual(expectedState(1))
  })
})

describe('object lock', () => {
  it('is refused where the server forgets conditions in such a bucket: two runs could overwrite each other', async () => {
    const settings = await server.newPlace({}, { objectLock: true })
    const { json } = await configured(settings, { object_lock: { mode: 'governance', days: 2 } })
    const { code, document } = await json('create', '--init')
    // By Ceph 16; a better server just works.
    if (code !== 0) expect(document.failures[0].code).toBe('conditional_write_missing')
  })

  it('keeps a backup from everybody; the chain is locked as long as its newest member; prune says until when', async () => {
    const settings = await server.newPlace({}, { objectLock: true })
    const proxy = await conditionalProxy(server, settings)
    const days = (count: number) => ({ object_lock: { mode: 'governance', days: count } })
    const short = await configured(settings, days(2), proxy.endpoint)
    expect((await short.json('create', '--init')).code).toBe(0)
    const { document } = await short.json('list')
    const [{ id: full }] = document.backups
    const Bucket = settings.bucket
    const Key = `${settings.prefix}/app/${full}/app.db.zst`
    const head = async (key: string) => server.client.send(new HeadObjectCommand({ Bucket, Key: key }))
    const first = await head(Key)
    expect(first.ObjectLockMode).toBe('GOVERNANCE')
    const { Versions = [] } = await server.client.send(new ListObjectVersionsCommand({ Bucket, Prefix: Key }))
    const destroying = new DeleteObjectCommand({ Bucket, Key, VersionId: Versions[0]?.VersionId })
    await expect(server.client.send(destroying)).rejects.toMatchObject({ name: 'AccessDenied' })

    // The same source again, with a longer lock: its chain is locked as long.
    const { json, database } = short
    const longer = short.directory
    const config = join(longer, 'config.yaml')
    writeFileSync(
      config,
      stringify({
        state: join(longer, 'state'),
        repositories: {
          offsite: { s3: { bucket: Bucket, prefix: settings.prefix, endpoint: proxy.endpoint, ...days(40) } },
        },
        sources: { app: { kind: 'sqlite', path: database } },
      }),
    )
    await changeDatabase(database, 1)
    expect((await json('create', '--type', 'incr')).code).toBe(0)
    for (const name of ['app.db.zst', 'blocks.idx', 'manifest.json', 'SHA256SUMS']) {
      const { ObjectLockRetainUntilDate: until } = await head(`${settings.prefix}/app/${full}/${name}`)
      const left = (until?.getTime() ?? 0) - Date.now()
      expect(Math.round(left / 86_400_000), name).toBe(40)
    }

    expect((await json('create', '--type', 'full')).code).toBe(0)
    const prune = await json('prune', 'app', '--keep-last', '1')
    expect([prune.code, prune.document.delete]).toEqual([0, []])
    const kept = prune.document.keep.find(({ id }: { id: string }) => id === full)
    expect(kept.reasons).toEqual([expect.stringMatching(/^locked by the store until \d{4}-/)])
    expect((await json('list')).document.backups).toHaveLength(3)
  })
})
