import { forOthers } from '../../helpers/checkout.js'
import type { TestCluster } from '../../helpers/postgres.js'
import { storedIn } from '../../helpers/stored.js'
import { becomes, type ClusterPlace, contentOf, SOURCE } from './cluster.js'
import { binary } from './run.js'

/** An instant of the original, and everything that was in it then. */
export interface Mark {
  /** Name of the restore point that was made there. */
  name: string
  lsn: string
  /** ISO 8601 UTC, after the last commit and before the next. */
  at: string
  content: Record<string, string>
}

/** Lets a cluster archive into a place whose repository exists. */
export async function archiveInto(cluster: TestCluster, { config }: ClusterPlace): Promise<void> {
  const command = [process.execPath, forOthers(binary), 'pitr', 'archive', '%p', '--config', config, '--source', SOURCE]
  cluster.configure({ archive_command: command.map(word => `"${word}"`).join(' ') })
  await cluster.reload()
}

/** Some transactions, awaited. The one with the highest id is the last to commit: it runs alone. */
export async function burst(cluster: TestCluster, transactions = 60): Promise<void> {
  for (const amount of [
    ['-c', '2', '-t', String(transactions)],
    ['-c', '1', '-t', '1'],
  ]) {
    await cluster.run('pgbench', ['-n', '-h', cluster.room, '-U', 'postgres', ...amount, 'postgres'])
  }
}

/** Remembers what is there now. */
export async function mark(cluster: TestCluster, name: string): Promise<Mark> {
  const content = await contentOf(cluster)
  // Times are given in milliseconds, commits have microseconds.
  const clock = `to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`
  const at = await cluster.psql(`SELECT ${clock} FROM pg_sleep(0.01)`)
  const lsn = await cluster.psql(`SELECT pg_create_restore_point('${name}') FROM pg_sleep(0.01)`)
  return { name, lsn, at, content }
}

/** Ends the current segment and waits until it is archived. */
export async function archived(cluster: TestCluster, place: ClusterPlace): Promise<void> {
  const segment = await cluster.psql('SELECT pg_walfile_name(pg_switch_wal())')
  const ready = async () => String(walFiles(place).some(path => path.replace(/\.enc$/, '').endsWith(`/${segment}.zst`)))
  await becomes(`${segment} archived`, ready, 'true')
}

/** Every file of the archive, below the source's `wal`, sorted. */
export function walFiles({ repository }: ClusterPlace): string[] {
  const below = `${SOURCE}/wal/`
  const names = storedIn(repository).files(`${SOURCE}/wal`)
  return names.filter(name => /\.zst(\.enc)?$/.test(name)).map(name => name.slice(below.length))
}
