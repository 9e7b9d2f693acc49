import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { startCluster, type TestCluster } from '../helpers/postgres.js'
import {
  backupsIn,
  becomes,
  changedBlocks,
  clusterPlace,
  contentOf,
  contradictions,
  fill,
  historyOf,
  load,
  recovered,
  SOURCE,
} from './helpers/cluster.js'
import { expectNothingHalfMade, expectNothingRuns, expectSound } from './helpers/cluster-kills.js'
import { leftoversIn } from './helpers/place.js'
import { fill as ballast, canMount, smallDisk } from './helpers/small-disk.js'
import { makeTablespaces } from './helpers/tablespaces.js'

/** Small segments, so that a backup's WAL is not most of it; checksums, as a careful operator has them. */
const small = { initdb: ['-k', '--wal-segsize=1'] }

/** Starts a restored cluster, and stops it cleanly when its content was looked at; then every page must be right. */
async function lookedAt<T>(directory: string, look: (copy: TestCluster) => Promise<T>): Promise<T> {
  const copy = await startCluster({ directory })
  await copy.psql('SELECT pg_promote()').catch(() => {})
  const seen = await look(copy)
  await copy.run('pg_amcheck', ['--all', '--install-missing', '--heapallindexed', '-h', copy.room, '-U', 'postgres'])
  await copy.stop()
  await copy.run('pg_checksums', ['--check', '-D', directory])
  return seen
}

describe('a chain of full, diff and incrs under load, with tables made, dropped, emptied and rewritten between', () => {
  let cluster: TestCluster
  beforeAll(async () => {
    cluster = await startCluster(small)
  })

  it('comes back row for row, by restore and by recover.mjs, and PostgreSQL’s own programs find nothing wrong', async () => {
    const at = clusterPlace(cluster)
    await fill(cluster, 1)
    await cluster.psql(BEFORE)
    const running = await load(cluster)
    const points: { id: string; before: string[] }[] = []
    const point = async (type: string) => {
      const before = await historyOf(cluster)
      points.push({ id: (await at.backUp(type)).id, before })
    }
    await point('full')
    for (const [type, statements] of CHANGES) {
      for (const [sql, database] of statements) await cluster.psql(sql, database)
      await point(type)
    }
    await running.stop()
    const newest = (await at.backUp('incr')).id
    const content = await contentOf(cluster)
    const history = new Set(await historyOf(cluster))

    const restored = join(at.directory, 'restored')
    await at.ok('restore', [newest, '--to', restored])
    await cluster.run('pg_verifybackup', [restored])
    expect(await lookedAt(restored, contentOf)).toEqual(content)

    for (const { id, before } of points) {
      const copy = recovered(at, id)
      await cluster.run('pg_verifybackup', [copy])
      const then = await lookedAt(copy, async server => {
        expect(await contradictions(server), id).toBe('0')
        return historyOf(server)
      })
      // Every transaction that was over when the run began, and none that the original does not know.
      expect(before.filter(line => !then.includes(line))).toEqual([])
      expect(then.filter(line => !history.has(line))).toEqual([])
      rmSync(copy, { recursive: true })
    }
    const copy = recovered(at, newest)
    await cluster.run('pg_verifybackup', [copy])
    expect(await lookedAt(copy, contentOf)).toEqual(content)
  })
})

const BEFORE = `
  CREATE TABLE doomed AS SELECT n, repeat('doomed', 20) AS text FROM generate_series(1, 2000) n;
  CREATE TABLE emptied AS SELECT n, md5(n::text) AS text FROM generate_series(1, 5000) n;
  CREATE TABLE rewritten (n int PRIMARY KEY, text text);
  INSERT INTO rewritten SELECT n, md5(n::text) FROM generate_series(1, 5000) n;
  CREATE TABLE toasted AS SELECT n, (SELECT string_agg(md5((n * m)::text), '') FROM generate_series(1, 600) m) AS text
    FROM generate_series(1, 20) n;
  CREATE UNLOGGED TABLE forgotten AS SELECT generate_series(1, 500) n;
  SELECT lo_from_bytea(4711, decode(repeat('4e584c4f', 5000), 'hex'))`

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
    ],
  ],
  [
    'incr',
    [
      ['TRUNCATE toasted'],
      ['VACUUM FREEZE'],
      ['DROP TABLE emptied'],
      ['UPDATE orders SET text = text || id', 'shop'],
      ['VACUUM orders', 'shop'],
      ['SELECT lo_unlink(4711); CREATE ROLE clerk'],
    ],
  ],
]

describe('an incr of a cluster in which little changed', () => {
  it('stores the changed blocks and nothing else, in about the bytes that zstd needs for them', async () => {
    const cluster = await startCluster(small)
    const at = clusterPlace(cluster)
    await fill(cluster, 1)
    await cluster.psql('VACUUM')
    const [full, first] = [await at.backUp('full'), await at.backUp('incr')]
    await cluster.psql('UPDATE pgbench_accounts SET abalance = 1 WHERE aid % 5000 = 0')
    const second = await at.backUp('incr')
    const trees = [full, first, second].map(({ id }) => recovered(at, id))
    for (const [index, backup] of [first, second].entries()) {
      const blocks = changedBlocks(trees[index + 1] ?? '', trees[index] ?? '')
      expect(backup.blocks_stored).toBe(blocks.length)
      const packed = execFileSync('zstd', ['-1', '-c', '-q'], { input: Buffer.concat(blocks) }).length
      // An index line is 16 bytes a block, and 24 a run of them.
      expect(backup.bytes_stored).toBeLessThan(1.1 * packed + 40 * blocks.length + 16_384)
      expect(backup.bytes_stored).toBeLessThan(0.03 * full.bytes_stored)
    }
  })
})

describe('a cluster with tablespaces', () => {
  it('comes back row for row, to other places by restore, and by hand as RECOVER.txt says', async () => {
    const cluster = await startCluster(small)
    const from = await makeTablespaces(cluster)
    const at = clusterPlace(cluster)
    await at.backUp('full')
    await cluster.psql("UPDATE here SET text = 'changed' WHERE n % 7 = 0; INSERT INTO here VALUES (-1, 'new')")
    const { id } = await at.backUp('incr')
    const content = await contentOf(cluster)
    const target = join(at.directory, 'restored')
    const to = { fast: join(at.directory, 'new fast'), slow: join(at.directory, 'new slow') }

    // Where the tablespaces still are, nothing may be put.
    const unmapped = await at.json('restore', [SOURCE, '--to', target])
    expect(unmapped).toMatchObject({ code: 8, error: { error: { exit_code: 8 } } })
    expect(unmapped.error.error.hint).toContain('--tablespace-map')
    expect(existsSync(target)).toBe(false)

    const map = (['fast', 'slow'] as const).flatMap(name => ['--tablespace-map', `${from[name]}=${to[name]}`])
    await at.ok('restore', [SOURCE, '--to', target, ...map])
    const locations = `SELECT string_agg(pg_tablespace_location(oid), '|' ORDER BY spcname) FROM pg_tablespace
      WHERE spcname IN ('fast', 'slow')`
    const restored = await lookedAt(target, async copy => {
      expect(await copy.psql(locations)).toBe(`${to.fast}|${to.slow}`)
      return contentOf(copy)
    })
    expect(restored).toEqual(content)

    const byHand = recovered(at, id)
    await cluster.run('pg_verifybackup', [byHand])
    for (const oid of readdirSync(join(byHand, 'pg_tblspc'))) {
      const place = join(at.directory, `moved-${oid}`)
      renameSync(join(byHand, 'pg_tblspc', oid), place)
      symlinkSync(place, join(byHand, 'pg_tblspc', oid))
    }
    writeFileSync(join(byHand, 'tablespace_map'), '')
    expect(await lookedAt(byHand, contentOf)).toEqual(content)
    // The original never noticed.
    expect(await contentOf(cluster)).toEqual(content)
  })
})

describe('another cluster under the same name', () => {
  it('is refused with what to do, and adopted only when told so, with a full', async () => {
    const [old, young] = await Promise.all([startCluster(small), startCluster(small)])
    const before = clusterPlace(old)
    await before.backUp('full')
    await before.backUp('incr')
    const at = clusterPlace(young, { beside: before })
    const kept = backupsIn(at)

    for (const type of ['auto', 'full', 'incr']) {
      const { code, document, error } = await at.json('create', ['--type', type])
      expect({ type, code, backups: document.backups }).toEqual({ type, code: 8, backups: [] })
      expect(error.error).toMatchObject({ code: 'source_claimed', exit_code: 8 })
      expect(error.error.hint).toContain('--adopt')
    }
    expect(backupsIn(at)).toEqual(kept)

    const { document } = await at.json('create', ['--type', 'incr', '--adopt'])
    expect(document.backups).toMatchObject([{ type: 'full', parent: null }])
    expect(await at.backUp('incr')).toMatchObject({ parent: document.backups[0].id })
    // Now the old one is the stranger, and what it had is still there and whole.
    expect((await before.json('create')).code).toBe(8)
    expect(backupsIn(at).slice(0, 2)).toEqual(kept)
    await expectSound(at)
    const copy = recovered(at, kept[1] ?? '')
    const identifier = 'SELECT system_identifier FROM pg_control_system()'
    expect(await lookedAt(copy, server => server.psql(identifier))).toBe(await old.psql(identifier))
  })
})

describe('a page whose checksum is wrong', () => {
  it('ends with 4 and no backup, or, when one is wanted all the same, with 4 and one that says so', async () => {
    const cluster = await startCluster(small)
    const at = clusterPlace(cluster)
    await cluster.psql('CREATE TABLE hurt AS SELECT generate_series(1, 5000) n')
    await at.backUp('full')
    const file = join(cluster.directory, await cluster.psql("SELECT pg_relation_filepath('hurt')"))
    await cluster.stop()
    const sound = readFileSync(file)
    const broken = Buffer.from(sound)
    broken[8192 + 5000] = (broken[8192 + 5000] ?? 0) ^ 1
    writeFileSync(file, broken)
    await cluster.start()

    for (const type of ['incr', 'full']) {
      const { code, document, error } = await at.json('create', ['--type', type])
      expect({ type, code, backups: document.backups }).toEqual({ type, code: 4, backups: [] })
      expect(error.error).toMatchObject({ code: 'source_damaged', exit_code: 4 })
      expect(error.error.message).toContain('page_checksums')
      expect(error.error.message).toContain(`block 1`)
      expect(error.error.hint).toContain('--allow-damaged')
      expect(backupsIn(at)).toHaveLength(1)
    }
    const allowed = await at.json('create', ['--type', 'incr', '--allow-damaged'])
    expect(allowed).toMatchObject({ code: 4, document: { backups: [{ type: 'incr', damaged_source: true }] } })
    const listed = await at.run('list', [SOURCE])
    expect(listed.stdout).toContain('damaged')

    await cluster.stop()
    writeFileSync(file, sound)
    await cluster.start()
    expect(await at.backUp('incr')).toMatchObject({ damaged_source: false })
    await expectSound(at)
    const [, , newest = ''] = backupsIn(at)
    expect(readFileSync(join(recovered(at, newest), file.slice(cluster.directory.length)))).toEqual(sound)
    expectNothingHalfMade(at)
  })
})

describe('a server that cannot be asked', () => {
  it('ends the run with 1 and what to do, makes no repository, and leaves what is there alone', async () => {
    const cluster = await startCluster(small)
    const wrong = clusterPlace(cluster, { connection: `${cluster.connection} dbname=nowhere` })
    const failed = await wrong.json('create', ['--init'])
    expect(failed).toMatchObject({
      code: 1,
      document: { backups: [], failures: [{ source: SOURCE, code: 'database_missing' }] },
      error: { error: { code: 'database_missing', exit_code: 1 } },
    })
    expect(failed.error.error.message).toContain('database "nowhere" does not exist')
    expect(failed.error.error.hint).toContain('dbname=')
    expect(existsSync(wrong.repository)).toBe(false)

    const at = clusterPlace(cluster)
    await at.backUp('full')
    await cluster.stop()
    const down = await at.json('create')
    expect(down).toMatchObject({ code: 1, error: { error: { code: 'server_unreachable', exit_code: 1 } } })
    expect(down.error.error.message).toContain(cluster.room)
    expect(down.error.error.hint).toContain('is the server running?')
    const { stdout, stderr } = await at.run('create')
    expect(stdout).toBe('')
    expect(stderr.trim().split('\n')).toHaveLength(2)
    // The backups need no server.
    expect(backupsIn(at)).toHaveLength(1)
    expectNothingHalfMade(at)
    await expectSound(at)
  })
})

// Skipped where the tests may not mount a small disk: that takes root, and not every container's root may.
describe.skipIf(!canMount)('a full disk under the repository', () => {
  it.each([
    ['a cluster', false],
    ['a cluster whose tablespaces are staged there', true],
  ])('in the middle of a create of %s is named, and nothing is left of the run', async (_, spread) => {
    const cluster = await startCluster(small)
    if (spread) await makeTablespaces(cluster)
    const at = clusterPlace(cluster)
    smallDisk(at.repository, 80 << 20)
    await at.backUp('full')
    const running = at.start('create', ['--type', 'full', '--json'])
    await becomes('staging', async () => String(leftoversIn(at.repository).length > 0), 'true')
    const free = ballast(at.repository, 64 * 1024)
    const { code, stdout, stderr } = await running.done
    expect({ code, stderr }).toMatchObject({ code: 1 })
    expect(JSON.parse(stdout)).toMatchObject({ backups: [], failures: [{ code: 'disk_full' }] })
    expect(stderr).toContain('hint')
    expectNothingHalfMade(at)
    await expectNothingRuns(cluster)
    free()
    await at.backUp('full')
    await expectSound(at)
  })
})
