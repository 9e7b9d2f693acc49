import { statSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { expect, onTestFinished } from 'vitest'
import { startCluster } from '../../helpers/postgres.js'
import { archiveRoom, backUpTo, unpack } from './capturing.js'

const invariant = `SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(bbalance) FROM pgbench_branches)
  AND (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)`

/**
 * Takes base backups in a row while transactions go on and the server removes WAL as soon as it may. None may fail for
 * want of WAL, and the last one must recover.
 */
export async function backUpBusyServer(rounds: number): Promise<void> {
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
  for (let round = 0; round < rounds; round++) {
    const { facts } = await backUpTo(tar, cluster)
    segments.add(facts.start_segment)
  }
  expect(segments.size).toBeGreaterThan(rounds / 2)
  const copy = await startCluster({ directory: await unpack(tar, cluster) })
  expect(await copy.psql(invariant)).toBe('t')
  expect(statSync(tar).size).toBeGreaterThan(30_000_000)
}
