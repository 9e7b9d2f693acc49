import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ListObjectsV2Command } from '@aws-sdk/client-s3'
import { describe, expect, it } from 'vitest'
import { s3Location } from '../../src/repository/storage/s3/settings.js'
import { startCluster, type TestCluster } from '../helpers/postgres.js'
import { startS3 } from '../helpers/s3-server.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import {
  becomes,
  type ClusterPlace,
  clusterPlace,
  contentOf,
  eventually,
  fill,
  load,
  SOURCE,
} from './helpers/cluster.js'
import { archiveInto, burst, type Mark, mark } from './helpers/recovery.js'
import { run } from './helpers/run.js'
import { walPlace } from './helpers/wal-place.js'

const server = await startS3()
const settings = await server.newPlace()
const yaml = `{ s3: { bucket: ${settings.bucket}, prefix: ${settings.prefix}, endpoint: "${server.endpoint}" } }`
const repository = { yaml, url: s3Location(settings), env: server.env }

let cluster: TestCluster
let place: ClusterPlace
const marks: Mark[] = []

/** Archiving runs in the server's environment, which has nothing of ours but HOME: credentials come from a file there. */
function giveCredentials({ room, uid, gid }: TestCluster): void {
  const directory = join(room, '.aws')
  mkdirSync(directory)
  const file = join(directory, 'credentials')
  const { accessKeyId, secretAccessKey } = server
  writeFileSync(file, `[default]\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}\n`)
  chmodSync(file, 0o600)
  for (const path of [directory, file]) chownSync(path, uid, gid)
}

/** Ends the segment and waits until the server has archived it. */
async function archived(): Promise<void> {
  const segment = await cluster.psql('SELECT pg_walfile_name(pg_switch_wal())')
  const ask = () => cluster.psql(`SELECT last_archived_wal >= '${segment}' FROM pg_stat_archiver`)
  await becomes(`${segment} archived`, ask, 't')
}

it('a cluster archives into a bucket and is backed up in all three ways while it works', async () => {
  cluster = await startCluster({ settings: { archive_mode: 'on', archive_command: '' } })
  giveCredentials(cluster)
  place = clusterPlace(cluster, { s3: repository, more: ['checks: ["SELECT count(*) FROM pgbench_accounts"]'] })
  await fill(cluster, 1)
  const { stop } = await load(cluster, 200)
  await place.backUp('full')
  await archiveInto(cluster, place)
  await place.backUp('incr')
  await stop()
  marks.push(await mark(cluster, 'alpha'))
  await cluster.psql('CREATE TABLE gone AS SELECT generate_series(1, 1000) AS number')
  await place.backUp('diff')
  await burst(cluster)
  marks.push(await mark(cluster, 'beta'))
  await cluster.psql('DROP TABLE gone')
  await archived()
  const failed = await cluster.psql('SELECT failed_count FROM pg_stat_archiver')
  expect(failed).toBe('0')
  const { code, document } = await place.json('verify')
  // Three backups and the log.
  expect([code, document.results.length]).toEqual([0, 4])
}, 240_000)

describe('a bare machine with the bucket alone', () => {
  it('knows every instant that can be restored', async () => {
    const flags = ['--repo', repository.url, '--state', temporaryDirectory(), '--json']
    const { code, stdout } = await run(['pitr', 'points', SOURCE, ...flags], { env: server.env })
    expect(code).toBe(0)
    const [window] = JSON.parse(stdout).windows
    expect(Date.parse(window.to)).toBeGreaterThanOrEqual(Date.parse(marks[1]?.at ?? ''))
  })

  it.each([0, 1])('brings the cluster back to mark %i', async number => {
    const { at, content } = marks[number] as Mark
    const to = join(place.directory, `copy-${number}`)
    const { code, document, error } = await place.json('pitr restore', [
      SOURCE,
      '--at',
      at,
      '--to',
      to,
      '--start',
      '--stop',
    ])
    expect([code, error]).toEqual([0, undefined])
    const copy = await startCluster({ directory: document.target })
    expect(await contentOf(copy)).toEqual(content)
    await copy.stop()
  })
})

it('prune keeps the log that its bases need', async () => {
  await place.backUp('full')
  await archived()
  const keys = async () => {
    const { Contents = [] } = await server.client.send(new ListObjectsV2Command({ Bucket: settings.bucket }))
    return Contents.map(({ Key = '' }) => Key).filter(key => key.includes('/wal/'))
  }
  const before = await keys()
  await place.ok('prune', [SOURCE, '--keep-last', '1'])
  const after = await keys()
  expect(after.length).toBeLessThan(before.length)
  expect((await place.json('verify')).code).toBe(0)
  await eventually(cluster, 'SELECT failed_count FROM pg_stat_archiver', '0')
  await cluster.stop()
})

describe('the log in a bucket', () => {
  it('takes the very same segment again, never another one, and says by its status what is not there', async () => {
    const env = server.env
    const at = await walPlace({ s3: { place: await server.newPlace(), env } })
    const [name = ''] = at.ready([1])
    expect(await at.archiveSegment(name)).toMatchObject({ code: 0, stdout: '', stderr: '' })
    expect(await at.archiveSegment(name)).toMatchObject({ code: 0 })
    at.ready([1], { fill: 99 })
    expect((await at.archiveSegment(name)).code).toBe(8)
    const fetched = join(at.data, 'fetched')
    expect(await at.call(['pitr', 'fetch', name, fetched])).toMatchObject({ code: 0 })
    const { plain } = await at.archive.read(name)
    expect(readFileSync(fetched).equals(plain)).toBe(true)
    expect((await at.call(['pitr', 'fetch', '0000000100000000000000FF', fetched])).code).toBe(5)
  })

  it('is archived several segments at a time, each call of which then ends without Node', async () => {
    const at = await walPlace({ s3: { place: await server.newPlace(), env: server.env } })
    const names = at.ready([1, 2, 3, 4, 5, 6])
    expect((await at.archiveSegment(names[0] ?? '')).code).toBe(0)
    expect(await at.archive.names()).toEqual(names)
    expect(await at.withoutNode(['pitr', 'archive', `pg_wal/${names[3]}`])).toBe(0)
  })

  it('cannot be reached: archiving fails and is tried again, recovery stops', async () => {
    const at = await walPlace({
      s3: { place: await server.newPlace({ endpoint: 'http://127.0.0.1:1' }), env: server.env, unreachable: true },
    })
    const [name = ''] = at.ready([1])
    const archive = await at.archiveSegment(name)
    expect(archive.code).toBeGreaterThan(0)
    expect(archive.code).toBeLessThanOrEqual(125)
    expect((await at.call(['pitr', 'fetch', name, join(at.data, 'fetched')])).code).toBeGreaterThanOrEqual(126)
  })
})
