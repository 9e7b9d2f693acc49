import { roomFor, type TestCluster } from '../../helpers/postgres.js'

/** Two tablespaces with tables, an index and a database in them. Returns their directories by name. */
export async function makeTablespaces(cluster: TestCluster): Promise<Record<'fast' | 'slow', string>> {
  const places = { fast: roomFor(cluster, 'fast disk'), slow: roomFor(cluster, 'slow') }
  for (const [name, path] of Object.entries(places)) await cluster.psql(`CREATE TABLESPACE ${name} LOCATION '${path}'`)
  await cluster.psql(
    'CREATE TABLE here TABLESPACE fast AS SELECT n, md5(n::text) AS text FROM generate_series(1, 4000) n',
  )
  await cluster.psql('CREATE INDEX there ON here (text) TABLESPACE slow')
  await cluster.psql('CREATE DATABASE apart TABLESPACE slow')
  await cluster.psql('CREATE TABLE inside AS SELECT generate_series(1, 1000) n', 'apart')
  return places
}
