import { createWriteStream, statSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { execa } from 'execa'
import { describe, expect, it, onTestFinished } from 'vitest'
import { startCluster, type TestCluster } from '../../helpers/postgres.js'
import { archiveRoom, backUpTo, capture, eventually, unpack } from './capturing.js'

const invariant = `SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(bbalance) FROM pgbench_branches)
  AND (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)`

const nextSegment =
  'CREATE TABLE IF NOT EXISTS filler (x text); INSERT INTO filler SELECT 1; SELECT pg_switch_wal(); CHECKPOINT'

it('twenty base backups in a row succeed under load although the server keeps next to no WAL', async () => {
  const cluster = await startCluster({
    initdb: ['--wal-segsize=1'],
    settings: { max_wal_size: '2MB', min_wal_size: '2MB', wal_keep_size: '0', checkpoint_timeout: '30s' },
  })
  await cluster.run('pgbench', ['-i', '-q', '-s', '1', '-h', cluster.room, '-U', 'postgres', 'postgres'])
  const load = execa(
    join(cluster.bin, 'pgbench'),
    ['-h', cluster.room, '-U', 'postgres', '-c', '2', '-T', '600', 'postgres'],
    { reject: false, env: { LC_ALL: 'C' } },
  )
  onTestFinished(async () => {
    load.kill('SIGKILL')
    await load
  })
  const tar = join(archiveRoom(cluster), 'busy.tar')
  const segments = new Set<unknown>()
  for (let round = 0; round < 20; round++) {
    const { facts } = await backUpTo(tar, cluster)
    segments.add(facts.start_segment)
  }
  expect(segments.size).toBeGreaterThan(10)
  const copy = await startCluster({ directory: await unpack(tar, cluster) })
  expect(await copy.psql(invariant)).toBe('t')
  expect(statSync(tar).size).toBeGreaterThan(30_000_000)
})

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
