import { readFileSync, writeFileSync } from 'node:fs'
import { GetObjectCommand, HeadObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3'
import { expect, it } from 'vitest'
import { s3Location } from '../../src/repository/storage/s3/settings.js'
import { forOthers } from '../helpers/checkout.js'
import { conditionalProxy } from '../helpers/conditional-proxy.js'
import { startCluster, type TestCluster } from '../helpers/postgres.js'
import { startS3 } from '../helpers/s3-server.js'
import { becomes, type ClusterPlace, clusterPlace, fill, SOURCE } from './helpers/cluster.js'
import { binary } from './helpers/run.js'

const server = await startS3()

/** Says in a configuration for how many days the bucket's objects are locked; undefined: not at all. */
function lockFor({ config }: ClusterPlace, days: number | undefined): void {
  const lock = days === undefined ? '' : `, object_lock: { mode: governance, days: ${days} }`
  const unlocked = readFileSync(config, 'utf8').replace(/, object_lock: \{[^}]*\}/, '')
  writeFileSync(config, unlocked.replace(/(endpoint: "[^"]*")/, `$1${lock}`))
}

/** Lets the cluster archive into the place, with the bucket's credentials. */
async function archiveInto(cluster: TestCluster, { config }: ClusterPlace): Promise<void> {
  const environment = Object.entries(server.env).map(([name, value]) => `${name}=${value}`)
  const words = [
    'env',
    ...environment,
    process.execPath,
    forOthers(binary),
    'pitr',
    'archive',
    '%p',
    '--config',
    config,
  ]
  cluster.configure({ archive_command: words.map(word => `"${word}"`).join(' ') })
  await cluster.reload()
}

/** Ends the current segment, waits until it is archived, and returns its name. */
async function archived(cluster: TestCluster): Promise<string> {
  const segment = await cluster.psql(
    "SELECT pg_walfile_name(pg_switch_wal()) FROM pg_logical_emit_message(false, '', '')",
  )
  await becomes(
    `${segment} archived`,
    () => cluster.psql(`SELECT last_archived_wal >= '${segment}' FROM pg_stat_archiver`),
    't',
  )
  return segment
}

it('a new backup locks the log that its chain needs as long as itself; prune keeps what is locked, and says until when', async () => {
  const settings = await server.newPlace({}, { objectLock: true })
  const proxy = await conditionalProxy(server, settings)
  const yaml = `{ s3: { bucket: ${settings.bucket}, prefix: ${settings.prefix}, endpoint: "${proxy.endpoint}" } }`
  const cluster = await startCluster({ settings: { archive_mode: 'on', archive_command: '' } })
  const place = clusterPlace(cluster, {
    s3: { yaml, url: s3Location(settings), env: server.env },
    more: ['checks: ["SELECT 1"]'],
  })
  /** Days that each file below the source is locked, by the end of its name. */
  const locks = async () => {
    const { bucket: Bucket, prefix } = settings
    const { Contents = [] } = await server.client.send(
      new ListObjectsV2Command({ Bucket, Prefix: `${prefix}/${SOURCE}/` }),
    )
    const found = Contents.map(async ({ Key = '' }) => {
      const { ObjectLockRetainUntilDate: until } = await server.client.send(new HeadObjectCommand({ Bucket, Key }))
      const days = until === undefined ? 0 : Math.round((until.getTime() - Date.now()) / 86_400_000)
      return [Key.slice(`${prefix}/${SOURCE}/`.length).replace(/^wal\/.*\/|\.zst$/g, ''), days] as const
    })
    return new Map(await Promise.all(found))
  }

  const startSegment = async (id: string): Promise<string> => {
    const Key = `${settings.prefix}/${SOURCE}/${id}/manifest.json`
    const { Body } = await server.client.send(new GetObjectCommand({ Bucket: settings.bucket, Key }))
    return JSON.parse((await Body?.transformToString()) ?? '').facts.start_segment
  }

  await fill(cluster, 1)
  expect(await place.backUp('full')).not.toHaveProperty('lock')
  lockFor(place, 2)
  await archiveInto(cluster, place)
  const before = await archived(cluster)
  const full = await place.backUp('full')
  expect(full.lock).toEqual({ until: expect.any(String), backups: 0, wal: 0 })
  expect(Math.round((Date.parse(full.lock.until) - Date.now()) / 86_400_000)).toBe(2)
  const between = [await archived(cluster), await archived(cluster)]
  const early = await locks()
  expect([before, ...between].map(name => early.get(name))).toEqual([2, 2, 2])

  // Whoever made the chain locked it for two days; from now on it is forty.
  lockFor(place, 40)
  const incr = await place.backUp('incr')
  expect(incr.parent).toBe(full.id)
  expect(incr.lock.backups).toBe(1)
  const late = await locks()
  const start = await startSegment(full.id)
  const needed = [...late].filter(([name]) => /^[0-9A-F]{24}/.test(name) && name >= start)
  expect(needed.map(([name]) => name)).toEqual(expect.arrayContaining(between))
  // What the incr itself ended came later, and is locked for forty days from the first.
  expect(incr.lock.wal).toBeGreaterThanOrEqual(3)
  expect(incr.lock.wal).toBeLessThanOrEqual(needed.length)
  for (const [name, days] of needed) expect(days, name).toBe(40)
  // It belongs to the chain before.
  expect(late.get(before)).toBe(2)
  expect(late.get(`${full.id}/manifest.json`)).toBe(40)
  // Nothing to be done a moment later.
  expect((await place.backUp('incr')).lock).toMatchObject({ backups: 0, wal: 0 })

  // The first full is not locked and goes; the log before the second one is locked and stays.
  const prune = await place.json('prune', [SOURCE, '--keep-last', '1'])
  expect([prune.code, prune.document.delete.length]).toEqual([0, 1])
  expect(prune.document.wal[0]).toMatchObject({
    delete: { segments: 0, bytes: 0 },
    reasons: [expect.stringContaining('on'), expect.stringMatching(/^locked by the store until \d{4}-.*: \d+ files/)],
  })
  expect((await locks()).has(before)).toBe(true)
  await cluster.stop()
})
