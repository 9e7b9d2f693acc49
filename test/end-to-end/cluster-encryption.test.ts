import { chownSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { startCluster } from '../helpers/postgres.js'
import { holding } from '../operations/sealing/encrypted.js'
import { clusterPlace, fill, SOURCE } from './helpers/cluster.js'
import { archived, archiveInto, burst, mark } from './helpers/recovery.js'
import { run } from './helpers/run.js'

const isRoot = process.getuid?.() === 0
const secret = 'row-content-that-nobody-may-read'

it('a cluster goes into an encrypted repository with its log, and comes back to an instant', async () => {
  const cluster = await startCluster({ settings: { archive_mode: 'on', archive_command: '' } })
  const keyFile = join(cluster.room, 'key')
  await run(['keys', 'create', keyFile])
  if (isRoot) chownSync(keyFile, cluster.uid, cluster.gid)
  const place = clusterPlace(cluster, { keyFile, more: [`checks: ["SELECT text FROM secrets LIMIT 1"]`] })
  await fill(cluster, 1)
  await cluster.psql(`CREATE TABLE secrets AS SELECT '${secret}'::text AS text FROM generate_series(1, 1000)`)
  await place.backUp('full', isRoot ? ['--owner', cluster.user] : [])
  await archiveInto(cluster, place)
  await burst(cluster)
  await place.backUp('incr')
  await cluster.psql(`INSERT INTO secrets SELECT '${secret} again' FROM generate_series(1, 100)`)
  const wanted = await mark(cluster, 'wanted')
  await cluster.psql('DROP TABLE secrets')
  await archived(cluster, place)

  const points = await place.json('pitr points', [SOURCE])
  expect(points.document.windows).toHaveLength(1)
  const to = join(place.directory, 'copy')
  const restored = await place.json('pitr restore', [SOURCE, '--at', wanted.at, '--to', to, '--start', '--stop'])
  expect(restored.error, JSON.stringify(restored.error)).toBeUndefined()
  expect(restored.document.checks).toContainEqual(expect.objectContaining({ status: 'ok' }))
  const drilled = await place.json('verify', ['--drill'])
  expect(drilled.code, JSON.stringify(drilled)).toBe(0)
  for (const text of [secret, 'SELECT text FROM secrets', 'pgbench_accounts']) {
    expect(holding(place.repository, text), text).toEqual([])
  }
})
