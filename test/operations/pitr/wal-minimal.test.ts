import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { parseTime } from '../../../src/config/instant.js'
import { planClusterRestore } from '../../../src/operations/pitr/restore-cluster.js'
import { points } from '../../../src/operations/points.js'
import { archiveWal } from '../../../src/operations/wal/archive.js'
import { SOURCE } from '../../end-to-end/helpers/cluster.js'
import { startCluster, type TestCluster } from '../../helpers/postgres.js'
import { archiving, backedUpCluster } from '../clusters.js'
import { settingsOf } from '../wal/calls.js'

/** Commits something, and tells when with the server's own clock of commits. */
async function committed(cluster: TestCluster): Promise<string> {
  const clock = `to_char(pg_xact_commit_timestamp(xmin) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`
  const xid = await cluster.psql('INSERT INTO t DEFAULT VALUES RETURNING xmin')
  return cluster.psql(`SELECT ${clock} FROM t WHERE xmin = '${xid}'`)
}

it('a stretch of wal_level=minimal ends a window, and no target behind it is promised', async () => {
  const cluster = await startCluster({
    lean: true,
    settings: { ...archiving, autovacuum: 'off', track_commit_timestamp: 'on', wal_keep_size: '1GB' },
  })
  const at = backedUpCluster(cluster)
  await cluster.psql('CREATE TABLE t (n serial)')
  const full = await at.backUp('full')
  const before = await committed(cluster)
  await cluster.stop()
  cluster.configure({ wal_level: 'minimal', archive_mode: 'off', max_wal_senders: '0' })
  await cluster.start()
  const during = await committed(cluster)
  await cluster.stop()
  cluster.configure({ wal_level: 'replica', archive_mode: 'on', max_wal_senders: '10' })
  await cluster.start()
  const after = await committed(cluster)
  // The server archives them too, when it comes to remove them.
  const current = await cluster.psql('SELECT pg_walfile_name(pg_switch_wal())')
  const settings = settingsOf([at.source], [at.source.repository])
  const cwd = cluster.directory
  for (const name of readdirSync(join(cwd, 'pg_wal')).sort()) {
    if (!/^[0-9A-F]{24}$/.test(name) || name > current) continue
    await archiveWal(at.context, { settings, path: `pg_wal/${name}`, cwd, source: SOURCE, ahead: null, dryRun: false })
  }

  const found = await points(at.context, [at.source.repository], SOURCE)
  expect(found.windows).toEqual([{ from: full.captured_at, to: before, timeline: 1 }])
  expect(found.breaks).toEqual([{ reason: 'wal_level_minimal', timeline: 1, lsn: expect.any(String) }])
  const plan = (text: string) => {
    const time = parseTime(text, 'UTC')
    if (typeof time === 'string') throw new Error(time)
    return planClusterRestore(at.context, at.request({ target: { kind: 'time', at: time, before: false } }))
  }
  expect((await plan(before)).last_commit?.at).toBe(before)
  for (const target of [during, after]) {
    await expect(plan(target)).rejects.toMatchObject({
      kind: 'not-found',
      code: 'wal_level_minimal',
      hint: expect.stringContaining(`--at ${before}`),
    })
  }
  const later = await at.backUp('incr')
  const last = await committed(cluster)
  await at.archive()
  const { windows } = await points(at.context, [at.source.repository], SOURCE)
  expect(windows.map(({ from, to }) => [from, to])).toEqual([
    [full.captured_at, before],
    [later.captured_at, last],
  ])
})
