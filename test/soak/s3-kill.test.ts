import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { run } from '../end-to-end/helpers/run.js'
import {
  killBucketArchiving,
  killBucketCopies,
  killBucketCreates,
  killBucketPrunes,
} from '../end-to-end/helpers/s3-kills.js'
import { startCluster } from '../helpers/postgres.js'
import { startS3 } from '../helpers/s3-server.js'

const server = await startS3()

describe('SIGKILL at dozens of moments, with a bucket as repository', () => {
  it('of prune', () => killBucketPrunes(server, 30))
  it('of copy', () => killBucketCopies(server, 30))
  it('of archiving', () => killBucketArchiving(server, 40))
  it.each(['full', 'incr'] as const)('of a %s of a cluster, plain and encrypted', async type => {
    const cluster = await startCluster()
    const keyFile = join(cluster.room, 'key')
    expect((await run(['keys', 'create', keyFile])).code).toBe(0)
    await killBucketCreates(server, cluster, { type, count: 15 })
    await killBucketCreates(server, cluster, { type, count: 15, keyFile })
  })
}, 3_600_000)
