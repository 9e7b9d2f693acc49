import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import type { TestCluster } from '../../helpers/postgres.js'
import { becomes, type ClusterPlace, clusterPlace, eventually, helpersOf, recovered, SOURCE } from './cluster.js'
import { atMoments } from './kills.js'
import { leftoversIn } from './place.js'

/** Nothing that worked for a backup is left: no program, no slot, no session that sends WAL. */
export async function expectNothingRuns(cluster: TestCluster): Promise<void> {
  await becomes('what runs for a backup', async () => helpersOf(cluster).join('\n'), '')
  await eventually(cluster, 'SELECT count(*) FROM pg_replication_slots', '0')
  await eventually(cluster, 'SELECT count(*) FROM pg_stat_replication', '0')
}

/** Nothing half-made in the repository nor in the state directory. */
export function expectNothingHalfMade({ repository, state }: ClusterPlace): void {
  expect(leftoversIn(repository)).toEqual([])
  const scratch = join(state, 'scratch')
  expect(existsSync(scratch) ? readdirSync(scratch) : []).toEqual([])
}

/** Every backup that is listed is sound. */
export async function expectSound(at: ClusterPlace): Promise<void> {
  const { code, document, error } = await at.json('verify', [SOURCE])
  expect({ code, error }).toEqual({ code: 0, error: undefined })
  expect(document.results.filter((result: { status: string }) => result.status !== 'ok')).toEqual([])
}

/**
 * create of a cluster, killed: the server gets rid of everything by itself, the next run needs no help, no backup that
 * was ever listed is damaged, and what the last one holds is a cluster to PostgreSQL's own program.
 */
export async function killClusterCreates(cluster: TestCluster, type: 'full' | 'incr', count: number): Promise<void> {
  const at = clusterPlace(cluster)
  await at.backUp('full')
  const { duration } = await at.ok('create', ['--type', type])
  let last = ''
  await atMoments(count, duration, async kill => {
    await cluster.psql('CREATE TABLE IF NOT EXISTS kills (at timestamptz); INSERT INTO kills SELECT now()')
    await kill(at.start('create', ['--type', type]))
    await expectNothingRuns(cluster)
    last = (await at.backUp(type)).id
    expectNothingHalfMade(at)
  })
  await expectSound(at)
  await cluster.run('pg_verifybackup', [recovered(at, last)])
}
