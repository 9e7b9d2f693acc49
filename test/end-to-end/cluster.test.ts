import { execFileSync } from 'node:child_process'
import {
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { forOthers } from '../helpers/checkout.js'
import { roomFor, startCluster, type TestCluster } from '../helpers/postgres.js'
import { inBucket } from '../helpers/repository-kind.js'
import { storedIn } from '../helpers/stored.js'
import {
  backupsIn,
  changedBlocks,
  clusterPlace,
  contentOf,
  eventually,
  fill,
  helpersOf,
  ownedBy,
  recovered,
  SOURCE,
} from './helpers/cluster.js'
import { lookedAt, proveChain, small } from './helpers/cluster-chain.js'
import { expectNothingHalfMade, expectNothingRuns, expectSound } from './helpers/cluster-kills.js'
import { binary } from './helpers/run.js'
import { canMount, fillUp, smallDisk } from './helpers/small-disk.js'
import { makeTablespaces } from './helpers/tablespaces.js'

describe('a chain of full, diff and incrs under load, with tables made, dropped, emptied and rewritten between', () => {
  // test/soak/cluster.test.ts starts every copy, several times.
  it('comes back row for row, by restore and by recover.mjs, and PostgreSQL’s own programs find nothing wrong', () =>
    proveChain({ started: ['diff'], rounds: 1 }))
})

describe('an incr of a cluster in which little changed', () => {
  it('stores the changed blocks and nothing else, in about the bytes that zstd needs for them', async () => {
    const cluster = await startCluster(small)
    const at = clusterPlace(cluster)
    await fill(cluster, 1)
    await cluster.psql('VACUUM')
    const full = await at.backUp('full')
    await cluster.psql('UPDATE pgbench_accounts SET abalance = 1 WHERE aid % 5000 = 0')
    const incr = await at.backUp('incr')
    const blocks = changedBlocks(recovered(at, incr.id), recovered(at, full.id))
    expect(incr.blocks_stored).toBe(blocks.length)
    const packed = execFileSync('zstd', ['-1', '-c', '-q'], { input: Buffer.concat(blocks) }).length
    // In the index a block has 16 bytes, and a run of them 24.
    expect(incr.bytes_stored).toBeLessThan(1.1 * packed + 40 * blocks.length + 16_384)
    expect(incr.bytes_stored).toBeLessThan(0.03 * full.bytes_stored)
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
    const at = clusterPlace(young, { beside: before })
    const kept = backupsIn(at)

    for (const type of ['auto', 'full']) {
      const { code, document, error } = await at.json('create', ['--type', type])
      expect({ type, code, backups: document.backups }).toEqual({ type, code: 8, backups: [] })
      expect(error.error).toMatchObject({ code: 'source_claimed', exit_code: 8 })
      expect(error.error.hint).toContain('--adopt')
    }
    expect(backupsIn(at)).toEqual(kept)

    const { document } = await at.json('create', ['--type', 'incr', '--adopt'])
    expect(document.backups).toMatchObject([{ type: 'full', parent: null }])
    // Now the old one is the stranger, and what it had is still there and whole.
    expect((await before.json('create')).code).toBe(8)
    expect(backupsIn(at)).toEqual([...kept, document.backups[0].id])
    await expectSound(at)
    const copy = recovered(at, kept[0] ?? '')
    const { stdout } = await old.run('pg_controldata', ['-D', copy])
    expect(stdout).toContain(await old.psql('SELECT system_identifier FROM pg_control_system()'))
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

    const { code, document, error } = await at.json('create')
    expect({ code, backups: document.backups }).toEqual({ code: 4, backups: [] })
    expect(error.error).toMatchObject({ code: 'source_damaged', exit_code: 4 })
    expect(error.error.message).toContain('page_checksums')
    expect(error.error.message).toContain('block 1')
    expect(error.error.hint).toContain('--allow-damaged')
    expect(backupsIn(at)).toHaveLength(1)
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
    expect(storedIn(wrong.repository).exists()).toBe(false)

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

/** The process of a pg_basebackup, as soon as there is one. */
async function pidOfCopying(cluster: TestCluster): Promise<number> {
  const deadline = Date.now() + 90_000
  while (Date.now() < deadline) {
    const line = helpersOf(cluster).find(one => one.includes('pg_basebackup'))
    if (line !== undefined) return Number(line.split(' ')[0])
    await new Promise(resolve => setImmediate(resolve))
  }
  throw new Error('no pg_basebackup was started')
}

// Skipped where the tests may not mount a small disk: that takes root, and not every container's root may. A bucket has no
// disk here.
describe.skipIf(!canMount || inBucket)('a full disk under the repository', () => {
  it.each([
    ['a cluster', false],
    ['a cluster with tablespaces', true],
  ])('in the middle of a create of %s is named, and nothing is left of the run', async (_, spread) => {
    const cluster = await startCluster(small)
    if (spread) await makeTablespaces(cluster)
    const at = clusterPlace(cluster)
    smallDisk(at.repository, 80 << 20)
    const running = at.start('create', ['--init', '--json'])
    const copying = await pidOfCopying(cluster)
    process.kill(copying, 'SIGSTOP')
    const free = fillUp(at.repository)
    process.kill(copying, 'SIGCONT')
    const { code, stdout, stderr } = await running.done
    expect({ code, stderr }).toMatchObject({ code: 1 })
    expect(JSON.parse(stdout)).toMatchObject({ backups: [], failures: [{ code: 'repository_full' }] })
    const { error } = JSON.parse(stderr)
    expect(error.message.toLowerCase()).toContain('no space left')
    expect(error.message).toContain(at.repository)
    expect(error.hint).toContain('free ')
    expectNothingHalfMade(at)
    await expectNothingRuns(cluster)
    free()
    await at.backUp('full', ['--verify'])
  })
})

// Skipped for an ordinary user, who cannot be two.
describe.skipIf(process.getuid?.() !== 0)('root and the server’s user', () => {
  /** Everything below a directory that does not belong to the server's user alone. */
  function misplaced(cluster: TestCluster, directory: string): string[] {
    const names = readdirSync(directory, { recursive: true, encoding: 'utf8' })
    return ['', ...names].filter(name => {
      const { uid, gid, mode } = lstatSync(join(directory, name))
      return uid !== cluster.uid || gid !== cluster.gid || (mode & 0o077) !== 0
    })
  }

  it('share repository and state: each can go on from what the other made, and nothing belongs to the wrong one', async () => {
    const cluster = await startCluster({ ...small, stopped: true })
    const at = clusterPlace(cluster)
    const { uid, gid } = cluster
    const command = [process.execPath, forOthers(binary), 'pitr', 'archive', '%p', '--config', at.config]
    cluster.configure({ archive_mode: 'on', archive_command: command.join(' ') })
    await cluster.start()
    mkdirSync(at.state, { mode: 0o700 })
    chownSync(at.state, uid, gid)
    const postgres = { uid, gid }

    const full = await at.backUp('full', ownedBy(cluster))
    await cluster.psql('CREATE TABLE t AS SELECT generate_series(1, 1000) n')
    await cluster.psql('SELECT pg_switch_wal()')
    await eventually(cluster, 'SELECT archived_count >= 2 AND failed_count = 0 FROM pg_stat_archiver', 't')
    const incr = await at.backUp('incr', [], postgres)
    expect(incr.parent).toBe(full.id)
    // Programs that are not up to date are told.
    expect(incr.warnings.filter((warning: string) => !warning.includes('CVE-'))).toEqual([])
    await at.backUp('full')
    await at.ok('prune', [SOURCE, '--keep-last', '1'], postgres)
    const [last = ''] = backupsIn(at)
    expect((await at.ok('list', [SOURCE], postgres)).stdout).toContain(last)
    expect(backupsIn(at)).toEqual([last])
    const { id, parent } = await at.backUp('incr', [], postgres)
    expect(parent).toBe(last)
    await at.ok('verify', [SOURCE], postgres)
    await at.ok('list', ['--journal'], postgres)

    if (!inBucket) expect(misplaced(cluster, at.repository)).toEqual([])
    expect(misplaced(cluster, at.state)).toEqual([])
    // Nor in the way of the server: not in its data directory, not beside its sockets.
    expect(misplaced(cluster, cluster.directory)).toEqual([])
    expect(await cluster.psql('SELECT failed_count FROM pg_stat_archiver')).toBe('0')

    const content = await contentOf(cluster)
    const room = roomFor(cluster, 'restored')
    await at.ok('restore', [id, '--to', join(room, 'data')], postgres)
    expect(misplaced(cluster, room)).toEqual([])
    expect(await lookedAt(join(room, 'data'), contentOf)).toEqual(content)
  })
})
