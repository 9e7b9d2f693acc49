import { existsSync, lstatSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { majorIn, startCluster, type TestCluster } from '../../helpers/postgres.js'
import { clusterPlace, contentOf, contradictions, fill, historyOf, load, recovered } from './cluster.js'

/** Small segments, so that a backup's WAL is not most of it; checksums, as a careful operator has them. */
export const small = { initdb: ['-k', '--wal-segsize=1'] }

/**
 * Starts a restored cluster and stops it cleanly when its content was looked at. Every table, index and page must be
 * right.
 */
export async function lookedAt<T>(directory: string, look: (copy: TestCluster) => Promise<T>): Promise<T> {
  const copy = await startCluster({ directory })
  const seen = await look(copy)
  // 13 has none.
  if (existsSync(join(copy.bin, 'pg_amcheck'))) {
    await copy.run('pg_amcheck', ['--all', '--install-missing', '--heapallindexed', '-h', copy.room, '-U', 'postgres'])
  }
  await copy.stop()
  await copy.run('pg_checksums', ['--check', '-D', directory])
  return seen
}

/**
 * Takes a chain of all types under load, while tables and databases come and go, and proves it: the last backup, taken
 * when all was quiet, has every row of the original, and those under load a state that the original was in meanwhile.
 *
 * @param started types of backups under load whose copy is started too; PostgreSQL verifies them all
 * @param rounds how often the history of changes is gone through
 */
export async function proveChain({ started, rounds }: { started: readonly string[]; rounds: number }): Promise<void> {
  const cluster = await startCluster(small)
  const at = clusterPlace(cluster)
  await fill(cluster, 1)
  const running = await load(cluster)
  const points: { id: string; type: string; before: string[] }[] = []
  const point = async (type: string) => {
    const before = await historyOf(cluster)
    points.push({ ...(await at.backUp(type)), before })
  }
  for (let round = 0; round < rounds; round += 1) {
    await cluster.psql(BEFORE)
    await point('full')
    for (const [type, statements] of CHANGES) {
      for (const [sql, database] of statements) await cluster.psql(known(cluster, sql), database)
      await point(type)
    }
    if (round + 1 < rounds) for (const sql of AFTER) await cluster.psql(sql)
  }
  await running.stop()
  const newest = (await at.backUp('incr')).id
  const content = await contentOf(cluster)
  const history = new Set(await historyOf(cluster))

  const restored = join(at.directory, 'restored')
  await at.ok('restore', [newest, '--to', restored])
  expect(notOf(cluster, restored)).toEqual([])
  await cluster.run('pg_verifybackup', [restored])
  expect(await lookedAt(restored, contentOf)).toEqual(content)

  for (const { id, type, before } of points) {
    const copy = recovered(at, id)
    await cluster.run('pg_verifybackup', [copy])
    if (started.includes(type)) {
      const then = await lookedAt(copy, async server => {
        expect({ id, contradictions: await contradictions(server) }).toEqual({ id, contradictions: '0' })
        return new Set(await historyOf(server))
      })
      // Every transaction that was over when the run began, and none that the original does not know.
      expect(before.filter(line => !then.has(line))).toEqual([])
      expect([...then].filter(line => !history.has(line))).toEqual([])
      expect(before.length).toBeGreaterThan(0)
    }
    rmSync(copy, { recursive: true })
  }
  const copy = recovered(at, newest)
  await cluster.run('pg_verifybackup', [copy])
  expect(await lookedAt(copy, contentOf)).toEqual(content)
}

/** What below a restored data directory belongs to another user than its server's. */
function notOf(cluster: TestCluster, directory: string): string[] {
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' })
  return ['', ...names].filter(name => lstatSync(join(directory, name)).uid !== cluster.uid)
}

const BEFORE = `
  CREATE TABLE doomed AS SELECT n, repeat('doomed', 20) AS text FROM generate_series(1, 2000) n;
  CREATE TABLE emptied AS SELECT n, md5(n::text) AS text FROM generate_series(1, 5000) n;
  CREATE TABLE rewritten (n int PRIMARY KEY, text text);
  INSERT INTO rewritten SELECT n, md5(n::text) FROM generate_series(1, 5000) n;
  CREATE TABLE toasted AS SELECT n, (SELECT string_agg(md5((n * m)::text), '') FROM generate_series(1, 600) m) AS text
    FROM generate_series(1, 20) n;
  CREATE UNLOGGED TABLE forgotten AS SELECT generate_series(1, 500) n;
  SELECT lo_from_bytea(4711, decode(repeat('4e584c4f', 5000), 'hex'))`

/** Before 15 a database was always copied file by file, and nobody could ask for it. */
function known({ bin }: TestCluster, sql: string): string {
  return majorIn(bin) < 15 ? sql.replace(' STRATEGY file_copy', '') : sql
}

/** What happens before each further backup; some of it in another database. */
const CHANGES: [string, [sql: string, database?: string][]][] = [
  [
    'incr',
    [
      ['DROP TABLE doomed'],
      ['CREATE TABLE born AS SELECT n, md5((n * 7)::text) AS text FROM generate_series(1, 3000) n'],
      ['CREATE DATABASE passing'],
      ['CREATE TABLE short_lived AS SELECT generate_series(1, 1000) n', 'passing'],
    ],
  ],
  [
    'diff',
    [
      ["TRUNCATE emptied; INSERT INTO emptied VALUES (1, 'alone')"],
      ['DELETE FROM rewritten WHERE n % 3 = 0'],
      ['VACUUM FULL rewritten'],
      ['DROP DATABASE passing'],
    ],
  ],
  [
    'incr',
    [
      ['CREATE DATABASE shop STRATEGY file_copy'],
      ['CREATE TABLE orders (id serial PRIMARY KEY, text text)', 'shop'],
      ['INSERT INTO orders (text) SELECT md5(n::text) FROM generate_series(1, 4000) n', 'shop'],
      ['CREATE INDEX ON born (text); ALTER TABLE born RENAME TO "Geboren ""Ü"""'],
      ['TRUNCATE toasted'],
      ['VACUUM FREEZE'],
      ['DROP TABLE emptied'],
      ['UPDATE orders SET text = text || id', 'shop'],
      ['VACUUM orders', 'shop'],
      ['SELECT lo_unlink(4711); CREATE ROLE clerk'],
    ],
  ],
]

/** Back to where the changes can begin again. */
const AFTER = ['DROP TABLE rewritten, toasted, forgotten, "Geboren ""Ü"""', 'DROP DATABASE shop', 'DROP ROLE clerk']
