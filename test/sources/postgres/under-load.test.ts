import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { describe, expect, it } from 'vitest'
import { startCluster, type TestCluster } from '../../helpers/postgres.js'
import { backUpBusyServer } from './busy-server.js'
import { archiveRoom, capture, eventually, unpack } from './capturing.js'

const nextSegment =
  'CREATE TABLE IF NOT EXISTS filler (x text); INSERT INTO filler SELECT 1; SELECT pg_switch_wal(); CHECKPOINT'

// test/soak/under-load.test.ts takes twenty.
it('base backups in a row succeed under load although the server keeps next to no WAL', () => backUpBusyServer(6))

describe('a server that needs its WAL no more while the archive is still being read', () => {
  /** Reads the beginning of the archive, then lets WAL pile up and be removed, then reads the rest. */
  async function read(
    meanwhile: (cluster: TestCluster) => Promise<void>,
  ): Promise<{ cluster: TestCluster; tar: string }> {
    const settings = { max_wal_size: '32MB', min_wal_size: '32MB', wal_keep_size: '0' }
    const cluster = await startCluster({ settings })
    const captured = await capture(cluster)
    const input = await captured.open(null)
    const tar = join(archiveRoom(cluster), 'slow.tar')
    const slowly = async function* () {
      let first = true
      for await (const chunk of input.tar) {
        yield chunk
        if (first) await meanwhile(cluster)
        if (first) for (let round = 0; round < 6; round++) await cluster.psql(nextSegment)
        first = false
      }
    }
    await pipeline(Readable.from(slowly()), createWriteStream(tar))
    await captured.finish()
    await captured.close()
    return { cluster, tar }
  }

  it('keeps it for us', async () => {
    const { cluster, tar } = await read(async () => {})
    await cluster.run('pg_verifybackup', [await unpack(tar, cluster)])
  })

  it('gives it up when our slot is taken away, which is an error and not a backup', async () => {
    const takeAway = async (cluster: TestCluster) => {
      await cluster.psql('SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots')
      await eventually(cluster, 'SELECT count(*) FROM pg_replication_slots', '0')
    }
    await expect(read(takeAway)).rejects.toMatchObject({ code: 'wal_removed' })
  })
})
