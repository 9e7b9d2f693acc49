import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  DeleteObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  type ObjectVersion,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import { describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { createKeyFile } from '../../src/keys/key-file.js'
import type { S3Settings } from '../../src/repository/storage/s3/settings.js'
import { conditionalProxy } from '../helpers/conditional-proxy.js'
import { startS3 } from '../helpers/s3-server.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { changeDatabase, expectedState, makeDatabase, stateOf } from './helpers/database.js'
import { run } from './helpers/run.js'

const server = await startS3()
const DAY_MS = 86_400_000

/** An encrypted source whose repository lies in a bucket that locks. */
async function lockedPlace(days = 3) {
  const settings = await server.newPlace({}, { objectLock: true })
  const proxy = await conditionalProxy(server, settings)
  const directory = temporaryDirectory()
  const database = join(directory, 'app.db')
  const key = join(directory, 'key')
  createKeyFile(key, new Date())
  await makeDatabase(database)
  const json = async (words: string[], lock: { mode: string; days: number } | undefined, state = 'state') => {
    const config = join(directory, 'config.yaml')
    const s3 = { bucket: settings.bucket, prefix: settings.prefix, endpoint: proxy.endpoint }
    const offsite = {
      s3: { ...s3, ...(lock === undefined ? {} : { object_lock: lock }) },
      encryption: { recipients: [{ key_file: key }] },
    }
    const sources = { app: { kind: 'sqlite', path: database } }
    writeFileSync(config, stringify({ state: join(directory, state), repositories: { offsite }, sources }))
    const { code, stdout, stderr } = await run([...words, '--config', config, '--json'], { env: server.env })
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' })
    return { document: JSON.parse(stdout), stderr }
  }
  const create = (...words: string[]) => json(['create', ...words], { mode: 'compliance', days })
  return { settings, proxy, directory, database, key, json, create }
}

async function versions({ bucket }: S3Settings): Promise<ObjectVersion[]> {
  const { Versions = [], IsTruncated } = await server.client.send(new ListObjectVersionsCommand({ Bucket: bucket }))
  expect(IsTruncated).not.toBe(true)
  return Versions
}

async function currentNames({ bucket, prefix }: S3Settings): Promise<string[]> {
  const { Contents = [] } = await server.client.send(new ListObjectsV2Command({ Bucket: bucket }))
  return Contents.map(({ Key = '' }) => Key.slice(prefix.length + 1)).sort()
}

/** Whoever has full credentials takes away what the server lets him. */
async function destroyEverything(settings: S3Settings): Promise<void> {
  for (const { Key, VersionId } of await versions(settings)) {
    const request = { Bucket: settings.bucket, Key, VersionId, BypassGovernanceRetention: true }
    await server.client.send(new DeleteObjectCommand(request)).catch(error => {
      if (error.name !== 'AccessDenied') throw error
    })
  }
}

async function lockOf({ bucket, prefix }: S3Settings, name: string): Promise<number> {
  const found = await server.client.send(new HeadObjectCommand({ Bucket: bucket, Key: `${prefix}/${name}` }))
  return found.ObjectLockRetainUntilDate?.getTime() ?? 0
}

/** On a machine that knows nothing but the bucket and the key. */
async function restoredOnBareMachine(at: Awaited<ReturnType<typeof lockedPlace>>): Promise<unknown> {
  const bare = join(at.directory, `bare-${Date.now()}`)
  mkdirSync(bare)
  const to = join(bare, 'restored.db')
  const repo = `s3://${at.settings.bucket}/${at.settings.prefix}`
  const words = ['restore', 'app', '--to', to, '--repo', repo, '--key-file', at.key, '--state', join(bare, 'state')]
  const { code, stderr } = await run(words, { env: { ...server.env, AWS_ENDPOINT_URL_S3: at.proxy.endpoint } })
  expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' })
  return stateOf(to)
}

describe('an intruder with full credentials, in a bucket that locks', () => {
  it('leaves all that a restore needs on a bare machine with the key', async () => {
    const at = await lockedPlace()
    await at.create('--init')
    await changeDatabase(at.database, 1)
    await at.create('--type', 'incr')
    await at.json(['verify'], { mode: 'compliance', days: 3 })
    const before = await currentNames(at.settings)
    await destroyEverything(at.settings)
    const remaining = new Set(await currentNames(at.settings))
    const gone = before.filter(name => !remaining.has(name))
    expect(gone.filter(name => !/^locks\/|\/(index|\.pending)\//.test(name))).toEqual([])
    expect(await restoredOnBareMachine(at)).toEqual(expectedState(1))
    const ids = before.filter(name => name.endsWith('/manifest.json'))
    const ends = await Promise.all(ids.map(name => lockOf(at.settings, name)))
    for (const name of before.filter(name => /^(keys\/|[^/]+$|app\/source\.json)/.test(name))) {
      expect(await lockOf(at.settings, name), name).toBeGreaterThan(Math.max(...ends))
    }
  })

  it('leaves it also of a repository that was made before anything but backups was locked, as long as its longest backup', async () => {
    const at = await lockedPlace()
    const names = async () =>
      (await currentNames(at.settings)).filter(name => /^(keys\/|[^/]+$|app\/source\.json)/.test(name))
    const kept = new Date(Date.now() + 40 * DAY_MS).toISOString()
    await at.json(['create', '--init'], undefined)
    await at.create('--type', 'full', '--keep-until', kept)
    for (const name of await names()) {
      expect(await lockOf(at.settings, name), name).toBeGreaterThan(Date.parse(kept))
    }
    // A recipient that is let in later is locked as long by the next create.
    await changeDatabase(at.database, 1)
    const spare = join(at.directory, 'spare')
    createKeyFile(spare, new Date())
    await at.json(['keys', 'add', `key-file=${spare}`], { mode: 'compliance', days: 3 })
    await at.create('--type', 'full')
    for (const name of await names()) {
      expect(await lockOf(at.settings, name), name).toBeGreaterThan(Date.parse(kept))
    }
    await destroyEverything(at.settings)
    expect(await restoredOnBareMachine(at)).toEqual(expectedState(1))
  })

  it('leaves all of it to whoever reads the bucket as it was before, whatever was deleted and written over', async () => {
    const at = await lockedPlace()
    await at.create('--init')
    await changeDatabase(at.database, 1)
    await at.create('--type', 'incr')
    await at.json(['verify'], { mode: 'compliance', days: 3 })
    const names = await currentNames(at.settings)
    // Stores tell the time of a version to the second.
    await sleep(1100)
    const before = new Date()
    await sleep(1100)
    const kinds = [
      /^keys\//,
      /\/source\.json$/,
      /\/manifest\.json$/,
      /\/SHA256SUMS$/,
      /\.(zst|idx)/,
      /^[^/]+$/,
      /\/proofs\//,
    ]
    for (const kind of kinds)
      expect(
        names.some(name => kind.test(name)),
        String(kind),
      ).toBe(true)
    for (const [n, name] of names.entries()) {
      const object = { Bucket: at.settings.bucket, Key: `${at.settings.prefix}/${name}` }
      if (n % 2 === 0) await server.client.send(new DeleteObjectCommand(object))
      else await server.client.send(new PutObjectCommand({ ...object, Body: 'not what was there' }))
    }
    const config = join(at.directory, 'as-of.yaml')
    const { bucket, prefix } = at.settings
    const s3 = { bucket, prefix, endpoint: at.proxy.endpoint, as_of: before.toISOString() }
    const offsite = { s3, encryption: { recipients: [{ key_file: at.key }] } }
    writeFileSync(config, stringify({ state: join(at.directory, 'bare'), repositories: { offsite } }))
    const command = async (...words: string[]) => {
      const { code, stdout, stderr } = await run([...words, '--config', config, '--json'], { env: server.env })
      return { code, document: stdout === '' ? undefined : JSON.parse(stdout), stderr }
    }
    const versionsBefore = (await versions(at.settings)).length
    expect((await command('list')).document.backups).toHaveLength(2)
    expect(await command('verify')).toMatchObject({
      code: 0,
      document: { results: [{ status: 'ok' }, { status: 'ok' }] },
    })
    const to = join(at.directory, 'seen-through.db')
    expect(await command('restore', 'app', '--to', to)).toMatchObject({ code: 0 })
    expect(stateOf(to)).toEqual(expectedState(1))
    // A new repository is made of it.
    const copied = join(at.directory, 'copied')
    const both = { offsite, here: { path: copied } }
    const sources = { app: { kind: 'sqlite', path: at.database, repository: 'offsite', copies: ['here'] } }
    writeFileSync(config, stringify({ state: join(at.directory, 'bare'), repositories: both, sources }))
    expect(await command('copy', '--init')).toMatchObject({ code: 0 })
    const pruned = await command('prune', 'app', '--keep-last', '1', '--yes')
    expect({ code: pruned.code, error: JSON.parse(pruned.stderr.trim().split('\n').at(-1) ?? '').error.code }).toEqual({
      code: 8,
      error: 'access_denied',
    })
    expect((await versions(at.settings)).length).toBe(versionsBefore)
    const plain = await run(['verify', '--repo', copied, '--key-file', at.key, '--state', join(at.directory, 'other')])
    // All of it is ours; only this host's own word counts for nothing there.
    expect(plain.code).toBe(0)
    expect(plain.stderr.trim().split('\n')).toEqual([expect.stringContaining('no proofs are kept')])
  })

  it('is told by every command, none of which loses or invents anything', async () => {
    const at = await lockedPlace()
    await at.create('--init')
    await changeDatabase(at.database, 1)
    await at.create('--type', 'incr')
    const names = await currentNames(at.settings)
    const object = (name: string) => ({ Bucket: at.settings.bucket, Key: `${at.settings.prefix}/${name}` })
    const hide = (name: string) => server.client.send(new DeleteObjectCommand(object(name)))
    const show = async (name: string) => {
      const { DeleteMarkers = [] } = await server.client.send(
        new ListObjectVersionsCommand({ Bucket: at.settings.bucket, Prefix: object(name).Key }),
      )
      for (const { VersionId } of DeleteMarkers) {
        await server.client.send(new DeleteObjectCommand({ ...object(name), VersionId }))
      }
    }
    const config = join(at.directory, 'config.yaml')
    const code = async (...words: string[]) => (await run([...words, '--config', config], { env: server.env })).code
    const restores = () => code('restore', 'app', '--to', join(at.directory, `to-${Math.random()}.db`))
    const full = names.find(name => /-full-\w+\/manifest\.json$/.test(name)) ?? ''
    const outcomes: Record<string, (number | null)[]> = {}
    const hidden: [string, string][] = [
      ['a manifest', full],
      ['a part', full.replace('manifest.json', 'app.db.zst.enc')],
      ['the claim', 'app/source.json'],
      ['an epoch', names.find(name => name.endsWith('/epoch.json')) ?? ''],
      ['recover.mjs', 'recover.mjs'],
      ['nexus-backup.json', 'nexus-backup.json'],
    ]
    for (const [what, name] of hidden) {
      expect(names, what).toContain(name)
      await hide(name)
      outcomes[what] = [
        await code('list'),
        await code('verify'),
        await restores(),
        await code('prune', 'app', '--keep-last', '1', '--yes'),
      ]
      await show(name)
    }
    expect(await restores()).toBe(0)
    expect((await currentNames(at.settings)).filter(name => name.endsWith('/manifest.json'))).toHaveLength(2)
    // In the order list, verify, restore, prune. What a verify has found damaged is listed so until one finds it whole.
    expect(outcomes).toEqual({
      'a manifest': [4, 4, 4, 4],
      'a part': [4, 4, 4, 4],
      'the claim': [4, 4, 0, 0],
      'an epoch': [0, 4, 8, 0],
      'recover.mjs': [0, 4, 0, 0],
      'nexus-backup.json': [4, 4, 4, 4],
    })
  })
})
