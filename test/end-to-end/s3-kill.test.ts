import { join } from 'node:path'
import { PutObjectCommand } from '@aws-sdk/client-s3'
import { describe, expect, it } from 'vitest'
import { formatLease, type Holder, leaseName } from '../../src/repository/storage/s3/lease-state.js'
import { s3Location } from '../../src/repository/storage/s3/settings.js'
import { startCluster } from '../helpers/postgres.js'
import { startS3 } from '../helpers/s3-server.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { makeDatabase } from './helpers/database.js'
import { place } from './helpers/place.js'
import { run } from './helpers/run.js'
import { killBucketArchiving, killBucketCopies, killBucketCreates, killBucketPrunes } from './helpers/s3-kills.js'

const server = await startS3()

describe('SIGKILL at random moments', () => {
  it('of prune in a bucket', () => killBucketPrunes(server, 2))
  it('of copy of an encrypted repository into a bucket', () => killBucketCopies(server, 2))
  it('of archiving into a bucket', () => killBucketArchiving(server, 3))
  it('of a full and an incr of a cluster into a bucket, plain and encrypted', async () => {
    const cluster = await startCluster()
    const keyFile = join(cluster.room, 'key')
    expect((await run(['keys', 'create', keyFile])).code).toBe(0)
    await killBucketCreates(server, cluster, { type: 'full', count: 1 })
    await killBucketCreates(server, cluster, { type: 'incr', count: 1, keyFile })
  })
})

it('a run that was killed on another machine keeps its lease for a while: the error says whose, and how long', async () => {
  const settings = await server.newPlace()
  const at = place(temporaryDirectory(), { repository: s3Location(settings), env: server.env })
  await makeDatabase(at.database)
  await at.ok('create', ['--init'])
  const renewed = new Date(Date.now() - 100_000).toISOString()
  const holder: Holder = {
    lock: 'writer',
    mode: 'exclusive',
    token: '0'.repeat(32),
    host: 'db9',
    user: 'root',
    pid: 4711,
    purpose: 'create app',
    machine: 'another boot',
    since: renewed,
    renewed,
  }
  const Key = `${settings.prefix}/locks/app/${leaseName(900)}`
  await server.client.send(new PutObjectCommand({ Bucket: settings.bucket, Key, Body: formatLease([holder]) }))
  const { code, error } = await at.json('create')
  expect([code, error.error.code]).toEqual([6, 'locked'])
  expect(error.error.message).toMatch(
    /^app is locked by create app \(user root, process 4711 on db9, since .*Z, unless renewed until .*Z, in \d+ seconds\)$/,
  )
  expect(error.error.hint).toContain('--wait')
})
