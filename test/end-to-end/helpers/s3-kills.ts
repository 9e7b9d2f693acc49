import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CopyObjectCommand, ListMultipartUploadsCommand, ListObjectsV2Command } from '@aws-sdk/client-s3'
import { expect } from 'vitest'
import { type S3Settings, s3Location } from '../../../src/repository/storage/s3/settings.js'
import type { TestCluster } from '../../helpers/postgres.js'
import type { S3Server } from '../../helpers/s3-server.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { clusterPlace, SOURCE } from './cluster.js'
import { expectNothingRuns } from './cluster-kills.js'
import { changeDatabase, expectedState, makeDatabase, stateOf } from './database.js'
import { atMoments } from './kills.js'
import { place } from './place.js'
import { run, start } from './run.js'
import { expectStored } from './wal-kills.js'
import { MIB, walPlace } from './wal-place.js'
import { atWrites } from './write-kills.js'

/** Every key below a place. */
async function keysOf({ client }: S3Server, { bucket }: S3Settings): Promise<string[]> {
  const { Contents = [], IsTruncated } = await client.send(new ListObjectsV2Command({ Bucket: bucket }))
  if (IsTruncated) throw new Error('more keys than one listing tells')
  return Contents.map(({ Key = '' }) => Key)
}

/** Nothing half-made: no marker, no plan, no backup without its manifest, no upload that is kept and paid for. */
async function expectNothingHalfMade(server: S3Server, settings: S3Settings): Promise<void> {
  const keys = await keysOf(server, settings)
  // The object with which a store is tried is empty of meaning, and nobody reads it.
  expect(keys.filter(key => /\/\.pending\/|\.prune-plan|\.partial-(?!probe-)/.test(key))).toEqual([])
  const ids = new Set(keys.flatMap(key => /^(.*\/\d{8}T\d{6}[^/]*-(?:full|diff|incr)-[^/]*)\//.exec(key)?.[1] ?? []))
  expect([...ids].filter(id => !keys.includes(`${id}/manifest.json`))).toEqual([])
  const { Uploads = [] } = await server.client.send(new ListMultipartUploadsCommand({ Bucket: settings.bucket }))
  expect(Uploads.map(({ Key }) => Key)).toEqual([])
}

/** The same objects in a bucket of its own, without the locks of those who worked in the first. */
async function duplicate(server: S3Server, from: S3Settings): Promise<S3Settings> {
  const to = await server.newPlace()
  const keys = (await keysOf(server, from)).filter(key => !key.includes('/locks/'))
  await Promise.all(
    keys.map(Key =>
      server.client.send(new CopyObjectCommand({ Bucket: to.bucket, Key, CopySource: `${from.bucket}/${Key}` })),
    ),
  )
  return to
}

/** prune in a bucket, killed: what must be kept is there and sound with all it needs, and the next prune finishes. */
export async function killBucketPrunes(server: S3Server, count: number): Promise<void> {
  const settings = await server.newPlace()
  const at = place(temporaryDirectory(), { repository: s3Location(settings), env: server.env })
  await makeDatabase(at.database, { rows: 40 })
  for (const [n, type] of ['full', 'incr', 'diff', 'incr', 'full', 'incr', 'full', 'incr', 'diff', 'incr'].entries()) {
    await changeDatabase(at.database, n)
    await at.ok('create', ['--init', '--type', type])
  }
  const pruning = ['app', '--keep-last', '2']
  const flags = ({ bucket, prefix }: S3Settings) => {
    return ['--sqlite', at.database, '--repo', `s3://${bucket}/${prefix}`, '--state', at.state]
  }
  const idsIn = async (where: S3Settings) => {
    const { code, stdout } = await run(['list', '--all', '--json', ...flags(where)], { env: server.env })
    const { backups, problems } = JSON.parse(stdout)
    return { code, problems, ids: backups.map(({ id }: { id: string }) => id) as string[] }
  }
  const undisturbed = await duplicate(server, settings)
  const prune = (where: S3Settings, env: Record<string, string>) =>
    start(['prune', ...pruning, ...flags(where)], { env })
  expect(await prune(undisturbed, server.env).done).toMatchObject({ code: 0 })
  const { ids: kept } = await idsIn(undisturbed)
  expect(kept.length).toBeLessThan(10)
  const counted = await duplicate(server, settings)
  await atWrites(
    server,
    count,
    env => prune(counted, env),
    async kill => {
      const there = await duplicate(server, settings)
      await kill(env => prune(there, env))
      const verify = await run(['verify', '--json', ...flags(there)], { env: server.env })
      const { results } = JSON.parse(verify.stdout)
      expect(results.filter(({ status }: { status: string }) => status !== 'ok')).toEqual([])
      expect([verify.code, results.map(({ id }: { id: string }) => id)]).toEqual([0, expect.arrayContaining(kept)])
      // The lease of the killed run is no hindrance: this machine sees that it is no more.
      expect(await prune(there, server.env).done).toMatchObject({ code: 0 })
      expect(await idsIn(there)).toEqual({ code: 0, problems: [], ids: kept })
      await expectNothingHalfMade(server, there)
    },
  )
}

/** create of a cluster into a bucket, killed: nothing listed is damaged, nothing runs on, the next create needs no help. */
export async function killBucketCreates(
  server: S3Server,
  cluster: TestCluster,
  { type, count, keyFile }: { type: 'full' | 'incr'; count: number; keyFile?: string },
): Promise<void> {
  const settings = await server.newPlace()
  const { bucket, prefix, endpoint } = settings
  const encryption = keyFile === undefined ? '' : `, encryption: { recipients: [{ key_file: ${keyFile} }] }`
  const yaml = `{ s3: { bucket: ${bucket}, prefix: "${prefix}", endpoint: "${endpoint}" }${encryption} }`
  const at = clusterPlace(cluster, { s3: { yaml, url: s3Location(settings), env: server.env } })
  await at.backUp('full')
  const { duration } = await at.ok('create', ['--type', type])
  await atMoments(count, duration, async kill => {
    await cluster.psql('CREATE TABLE IF NOT EXISTS kills (at timestamptz); INSERT INTO kills SELECT now()')
    await kill(at.start('create', ['--type', type]))
    await expectNothingRuns(cluster)
    const { code, document } = await at.json('list')
    expect([code, document.problems]).toEqual([0, []])
    await at.backUp(type)
    await expectNothingHalfMade(server, settings)
  })
  const { code, document, error } = await at.json('verify', [SOURCE, '--drill'])
  expect([code, error]).toEqual([0, undefined])
  expect(document.results.filter(({ status }: { status: string }) => status !== 'ok')).toEqual([])
}

/** copy of an encrypted repository into a bucket, killed: what is there is whole, and the next copy brings the rest. */
export async function killBucketCopies(server: S3Server, count: number): Promise<void> {
  const at = place()
  const key = join(at.directory, 'key')
  expect((await run(['keys', 'create', key])).code).toBe(0)
  await makeDatabase(at.database, { rows: 20_000 })
  await at.ok('create', ['--init', '--key-file', key])
  for (const [n, type] of ['incr', 'diff', 'full', 'incr'].entries()) {
    await changeDatabase(at.database, n + 1)
    await at.ok('create', ['--type', type])
  }
  const copying = async () => {
    const settings = await server.newPlace()
    const words = ['app', '--to', s3Location(settings), '--init', '--repo', at.repository, '--state', at.state]
    return { settings, words: ['copy', ...words] }
  }
  const counted = await copying()
  await atWrites(
    server,
    count,
    env => start(counted.words, { env }),
    async kill => {
      const { settings, words } = await copying()
      const there = ['--repo', s3Location(settings), '--state', join(temporaryDirectory(), 'state'), '--json']
      const verified = async () => {
        const { code, stdout } = await run(['verify', '--key-file', key, ...there], { env: server.env })
        const results = stdout === '' ? [] : JSON.parse(stdout).results
        return {
          code,
          wrong: results.filter(({ status }: { status: string }) => status !== 'ok'),
          count: results.length,
        }
      }
      await kill(env => start(words, { env }))
      // 5: nothing is there yet.
      const before = await verified()
      expect([before.count > 0 ? 0 : 5, []]).toEqual([before.code, before.wrong])
      expect(await run(words, { env: server.env })).toMatchObject({ code: 0, stderr: '' })
      expect(await verified()).toEqual({ code: 0, wrong: [], count: 5 })
      await expectNothingHalfMade(server, settings)
      const restored = join(temporaryDirectory(), 'app.db')
      const restoring = ['restore', 'app', '--to', restored, '--key-file', key, ...there]
      expect(await run(restoring, { env: server.env })).toMatchObject({ code: 0 })
      expect(stateOf(restored)).toEqual(expectedState(4, 20_000))
    },
  )
}

/** archive_command into a bucket, killed: what the archive has is whole, and the server's next call of each succeeds. */
export async function killBucketArchiving(server: S3Server, count: number): Promise<void> {
  const at = await walPlace({ s3: { place: await server.newPlace(), env: server.env } })
  const call = (name: string) => ['--config', at.config, 'pitr', 'archive', `pg_wal/${name}`]
  let number = 1
  const segments = () => {
    const names = at.ready([number, number + 1, number + 2, number + 3], { segmentBytes: 4 * MIB })
    number += 4
    return names
  }
  const { duration } = await at.start(call(segments()[0] ?? '')).done
  await atMoments(
    count,
    duration,
    async kill => {
      const names = segments()
      await kill(at.start(call(names[0] ?? '')))
      for (const name of names) if ((await at.withoutNode(call(name).slice(2))) === 0) await expectStored(at, [name])
      await expectStored(
        at,
        (await at.archive.names()).filter(name => names.includes(name)),
      )
      for (const name of names) expect(await at.archiveSegment(name)).toMatchObject({ code: 0, stderr: '' })
      await expectStored(at, names)
      for (const name of names) {
        expect(readdirSync(join(at.data, 'pg_wal/archive_status'))).toContain(`${name}.ready`)
        writeFileSync(join(at.data, 'pg_wal/archive_status', `${name}.done`), '')
      }
    },
    0.3,
  )
}
