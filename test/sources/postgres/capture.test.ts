import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { beforeAll, describe, expect, it } from 'vitest'
import type { TreeEntry } from '../../../src/image/tree/types.js'
import { roomFor, startCluster, type TestCluster } from '../../helpers/postgres.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { archiveRoom, backUpTo, capture, pipeRooms, unpack } from './capturing.js'

const sumOfIncidents = "SELECT count(*) || ' ' || sum(hashtext(title)) FROM incidents"
const fill = 'CREATE TABLE incidents AS SELECT g AS id, md5(g::text) AS title FROM generate_series(1, 20000) g'

async function names(tar: string): Promise<string[]> {
  return (await execa('tar', ['-t', '-f', tar])).stdout.split('\n')
}

describe('a base backup of a plain cluster', () => {
  let cluster: TestCluster
  beforeAll(async () => {
    cluster = await startCluster({ initdb: ['-k'] })
    await cluster.psql(fill)
  })

  it('is restored by tar alone, accepted by pg_verifybackup, and starts with all rows', async () => {
    const tar = join(archiveRoom(cluster), 'plain.tar')
    await backUpTo(tar, cluster)
    const directory = await unpack(tar, cluster)
    await cluster.run('pg_verifybackup', [directory])
    const copy = await startCluster({ directory })
    expect(await copy.psql(sumOfIncidents)).toBe(await cluster.psql(sumOfIncidents))
  })

  it('tells where it begins and ends in the WAL, and holds the segments between', async () => {
    const tar = join(archiveRoom(cluster), 'facts.tar')
    const before = await cluster.psql('SELECT pg_current_wal_lsn()')
    const { facts } = await backUpTo(tar, cluster)
    const between = `SELECT '${before}'::pg_lsn <= '${facts.start_lsn}'::pg_lsn AND '${facts.start_lsn}'::pg_lsn < '${facts.stop_lsn}'::pg_lsn AND '${facts.stop_lsn}'::pg_lsn <= pg_current_wal_lsn()`
    expect(await cluster.psql(between)).toBe('t')
    expect(await cluster.psql(`SELECT pg_walfile_name('${facts.start_lsn}')`)).toBe(facts.start_segment)
    expect(await cluster.psql(`SELECT pg_walfile_name('${facts.stop_lsn}')`)).toBe(facts.stop_segment)
    const held = await names(tar)
    expect(held).toContain(`pg_wal/${facts.start_segment}`)
    expect(held).toContain(`pg_wal/${facts.stop_segment}`)
    expect(facts).toMatchObject({
      system_identifier: await cluster.psql('SELECT system_identifier FROM pg_control_system()'),
      server_version_num: Number(await cluster.psql('SHOW server_version_num')),
      timeline: 1,
      wal_segment_bytes: 16 * 1024 * 1024,
      data_checksums: true,
      data_directory: cluster.directory,
      owner: cluster.user,
      uid: cluster.uid,
      gid: cluster.gid,
      tablespaces: [],
      standby: false,
      settings: { max_connections: '100', max_wal_senders: '10', wal_level: 'replica' },
    })
  })

  it('stands for an instant by the server’s clock after its end, and begins before it', async () => {
    const { capturedAt, capture: captured } = await backUpTo(join(archiveRoom(cluster), 'clock.tar'), cluster)
    const [after = 0] = [Number(await cluster.psql('SELECT extract(epoch FROM clock_timestamp()) * 1000'))]
    expect(captured.begunAt.getTime()).toBeLessThan(capturedAt.getTime())
    expect(capturedAt.getTime()).toBeLessThanOrEqual(Math.ceil(after))
  })

  it('leaves entries as the archive says but for the owner’s name, which the server does not know', async () => {
    const captured = await capture(cluster)
    const input = await captured.open(null)
    const entry = { path: 'PG_VERSION', uid: cluster.uid, gid: cluster.gid, owner: 'wrong', group: 'wrong', size: 3 }
    const { owner, group, ...rest } = input.describe(entry as TreeEntry) ?? {}
    expect(owner).toBe(cluster.user)
    expect(group).not.toBe('wrong')
    expect(rest).toEqual({ path: 'PG_VERSION', uid: cluster.uid, gid: cluster.gid, size: 3 })
    const foreign = { ...entry, uid: cluster.uid + 1 }
    expect(input.describe(foreign as TreeEntry)).toEqual(foreign)
    expect(input.blockSize).toBe(8192)
  })

  it('an archive that was not read to its end is no backup', async () => {
    const captured = await capture(cluster)
    const { tar } = await captured.open(null)
    for await (const chunk of tar) if (chunk.length > 0) break
    await expect(captured.finish()).rejects.toMatchObject({ code: 'backup_incomplete' })
  })

  it('a data directory that the configuration names and another server has is refused', async () => {
    const elsewhere = roomFor(cluster, 'elsewhere')
    await expect(capture(cluster, { dataDirectory: elsewhere })).rejects.toMatchObject({
      kind: 'configuration',
      code: 'data_directory_differs',
    })
    await expect(capture(cluster, { dataDirectory: cluster.directory })).resolves.toBeDefined()
  })
})

describe('a base backup of a cluster with tablespaces', () => {
  let cluster: TestCluster
  let oids: string[]
  beforeAll(async () => {
    cluster = await startCluster({ initdb: ['-k'] })
    for (const name of ['fast', 'slow']) {
      await cluster.psql(`CREATE TABLESPACE ${name} LOCATION '${roomFor(cluster, name)}'`)
    }
    await cluster.psql(fill)
    await cluster.psql('ALTER TABLE incidents SET TABLESPACE fast')
    await cluster.psql('CREATE INDEX ON incidents (title) TABLESPACE slow')
    oids = (await cluster.psql("SELECT oid FROM pg_tablespace WHERE spcname IN ('fast', 'slow') ORDER BY oid")).split(
      '\n',
    )
  })

  it('is one archive with the tablespaces as ordinary directories, pg_control after all data', async () => {
    const tar = join(archiveRoom(cluster), 'joined.tar')
    const { facts } = await backUpTo(tar, cluster)
    expect(pipeRooms()).toEqual([])
    expect(facts.tablespaces).toEqual([
      { oid: Number(oids[0]), path: join(cluster.room, 'fast') },
      { oid: Number(oids[1]), path: join(cluster.room, 'slow') },
    ])
    const held = await names(tar)
    expect(new Set(held).size).toBe(held.length)
    for (const oid of oids) expect(held).toContain(`pg_tblspc/${oid}/`)
    const file = await cluster.psql("SELECT pg_relation_filepath('incidents')")
    expect(held).toContain(file)
    const control = held.indexOf('global/pg_control')
    const later = held.slice(control + 1).filter(name => !name.startsWith('pg_wal/') && name !== 'backup_manifest')
    expect(later).toEqual([])
    const directory = await unpack(tar, cluster)
    await cluster.run('pg_verifybackup', [directory])
  })

  it('is not copied to a disk on its way', async () => {
    await cluster.psql("INSERT INTO incidents SELECT g, repeat('x', 200) FROM generate_series(1, 20000) g")
    const captured = await capture(cluster)
    const { tar } = await captured.open(null)
    const onDisk = new Set<string>()
    for await (const _ of tar) {
      for (const room of pipeRooms()) {
        if (!existsSync(join(room, 'base'))) continue
        for (const entry of readdirSync(join(room, 'base'), { withFileTypes: true })) {
          if (entry.isFile()) onDisk.add(entry.name)
        }
      }
    }
    expect([...onDisk].filter(name => !name.startsWith('backup_manifest'))).toEqual([])
    await captured.close()
    expect(pipeRooms()).toEqual([])
  })

  it('starts with the tablespaces at other places once they are moved and tablespace_map says so', async () => {
    const tar = join(archiveRoom(cluster), 'moved.tar')
    await backUpTo(tar, cluster)
    const directory = await unpack(tar, cluster)
    const places = oids.map(oid => `${roomFor(cluster, `moved-${oid}`)}`)
    oids.forEach((oid, at) => {
      rmSync(places[at] ?? '', { recursive: true })
      renameSync(join(directory, 'pg_tblspc', oid), places[at] ?? '')
    })
    writeFileSync(join(directory, 'tablespace_map'), oids.map((oid, at) => `${oid} ${places[at]}\n`).join(''))
    const copy = await startCluster({ directory })
    expect(await copy.psql(sumOfIncidents)).toBe(await cluster.psql(sumOfIncidents))
    expect(
      await copy.psql(
        'SELECT spcname FROM pg_tablespace WHERE pg_tablespace_location(oid) LIKE $$%moved%$$ ORDER BY 1',
      ),
    ).toBe('fast\nslow')
  })

  it('keeps its manifest and names the page when a checksum is wrong', async () => {
    const damaged = await startCluster({ initdb: ['-k'] })
    await damaged.psql(`CREATE TABLESPACE fast LOCATION '${roomFor(damaged, 'fast')}'`)
    await damaged.psql(fill)
    await damaged.psql('ALTER TABLE incidents SET TABLESPACE fast')
    const path = await damaged.psql("SELECT pg_relation_filepath('incidents')")
    await damaged.stop()
    flip(join(damaged.directory, path), 3 * 8192 + 100)
    await damaged.start()
    const tar = join(archiveRoom(damaged), 'damaged.tar')
    const { checks } = await backUpTo(tar, damaged)
    expect(checks).toMatchObject([{ name: 'page_checksums', kind: 'integrity', status: 'failed' }])
    expect(checks[0]?.detail).toContain('block 3')
    expect(checks[0]?.detail).toContain(': table public.incidents of the database postgres')
    expect((await names(tar)).at(-1)).toBe('backup_manifest')
  })
})

it('an archive whose last block was not filled up, as pg_basebackup 13 writes it, is whole', async () => {
  const cluster = await startCluster()
  const room = archiveRoom(cluster)
  const program = (name: string, text: string) => {
    writeFileSync(join(room, name), `#!/bin/sh\n${text}\n`)
    chmodSync(join(room, name), 0o755)
  }
  program('psql', `exec ${cluster.bin}/psql "$@"`)
  const real = `${cluster.bin}/pg_basebackup`
  program('pg_basebackup', `[ "$1" != --version ] || exec ${real} --version\n${real} "$@" | head -c -244`)
  const tar = join(room, 'unpadded.tar')
  const { facts } = await backUpTo(tar, cluster, { binDirectory: room })
  const bytes = readFileSync(tar)
  expect([bytes.length % 512, bytes.subarray(-1024).every(byte => byte === 0)]).toEqual([0, true])
  expect(facts.stop_segment).toMatch(/^[0-9A-F]{24}$/)
  expect((await names(tar)).at(-1)).toBe('backup_manifest')
})

describe('page checksums', () => {
  it('a wrong one is a failed check that names file and block, of an archive that is whole', async () => {
    const cluster = await startCluster({ initdb: ['-k'] })
    await cluster.psql(fill)
    const path = await cluster.psql("SELECT pg_relation_filepath('incidents')")
    await cluster.stop()
    flip(join(cluster.directory, path), 8192 + 100)
    await cluster.start()
    const tar = join(archiveRoom(cluster), 'damaged.tar')
    const { checks, facts } = await backUpTo(tar, cluster)
    expect(checks).toMatchObject([{ name: 'page_checksums', status: 'failed' }])
    expect(checks[0]?.detail).toContain(`${path}", block 1`)
    expect(checks[0]?.detail).toContain(': table public.incidents of the database postgres')
    expect(facts.stop_segment).toMatch(/^[0-9A-F]{24}$/)
    expect((await names(tar)).at(-1)).toBe('backup_manifest')
  })

  it('a cluster without them has no such check', async () => {
    const cluster = await startCluster()
    const { checks, facts } = await backUpTo(join(archiveRoom(cluster), 'none.tar'), cluster)
    expect(checks).toEqual([])
    expect(facts.data_checksums).toBe(false)
    // Its server writes no logs.
    expect(facts).not.toHaveProperty('server_logs_left_out')
  })
})

describe('configuration outside the data directory', () => {
  it('is kept as text with its path, and what cannot be kept is told', async () => {
    const cluster = await startCluster({ stopped: true })
    const etc = roomFor(cluster, 'etc')
    const inside = join(cluster.directory, 'pg_hba.conf')
    writeFileSync(join(etc, 'pg_hba.conf'), readFileSync(inside))
    writeFileSync(join(etc, 'memory.conf'), 'work_mem = 7MB\n')
    writeFileSync(join(etc, 'large.conf'), `${'# nothing\n'.repeat(30_000)}maintenance_work_mem = 70MB\n`)
    writeFileSync(join(etc, 'linked.conf'), 'temp_buffers = 9MB\n')
    const { execaSync } = await import('execa')
    execaSync('ln', ['-s', join(etc, 'linked.conf'), join(cluster.directory, 'linked.conf')])
    const main = join(cluster.directory, 'postgresql.conf')
    const includes = ['memory.conf', 'large.conf'].map(name => `include '${join(etc, name)}'\n`).join('')
    writeFileSync(main, `${readFileSync(main, 'utf8')}${includes}include 'linked.conf'\n`)
    cluster.configure({ hba_file: join(etc, 'pg_hba.conf') })
    await cluster.start()
    const { facts, warnings } = await backUpTo(join(archiveRoom(cluster), 'etc.tar'), cluster)
    const files = facts.configuration_files as { path: string; text: string }[]
    expect(files).toContainEqual({ path: join(etc, 'memory.conf'), text: 'work_mem = 7MB\n' })
    expect(files.find(({ path }) => path === join(cluster.directory, 'linked.conf'))?.text).toBe('temp_buffers = 9MB\n')
    expect(files.map(({ path }) => path)).toContain(join(etc, 'pg_hba.conf'))
    expect(files.map(({ path }) => path)).not.toContain(main)
    expect(warnings).toEqual([expect.stringContaining(`${join(etc, 'large.conf')} is not in the backup`)])
    // In the link's place the backup has what it leads to: a server finds it on a restored copy.
    const copy = await unpack(join(archiveRoom(cluster), 'etc.tar'), cluster)
    expect(readFileSync(join(copy, 'linked.conf'), 'utf8')).toBe('temp_buffers = 9MB\n')
  })

  it.skipIf(process.getuid?.() !== 0)('is shown to nobody who could not read it before', async () => {
    const cluster = await startCluster({ lean: true })
    const secret = join(temporaryDirectory(), 'shadow')
    writeFileSync(secret, 'only for root')
    const leading = join(cluster.directory, 'led.key')
    symlinkSync(secret, leading)
    cluster.configure({ ssl_key_file: 'led.key' })
    await cluster.reload()
    const tar = join(archiveRoom(cluster), 'led.tar')
    const { warnings } = await backUpTo(tar, cluster)
    expect(warnings.join('\n')).toContain(`led.key is a link in the data directory and not in the backup: `)
    expect(readFileSync(tar).includes('only for root')).toBe(false)
  })
})

describe('a standby', () => {
  it('can be the source, says so, and its backup is consistent without an archive', async () => {
    const primary = await startCluster({ settings: { wal_keep_size: '64MB' } })
    await primary.psql(fill)
    const directory = join(primary.room, 'standby')
    await primary.run('pg_basebackup', ['-D', directory, '-R', '-c', 'fast', '-d', primary.connection])
    const standby = await startCluster({ directory, settings: { hot_standby: 'on' } })
    await primary.psql('INSERT INTO incidents SELECT g, md5(g::text) FROM generate_series(20001, 30000) g')
    const lsn = await primary.psql('SELECT pg_current_wal_lsn()')
    const deadline = Date.now() + 90_000
    while ((await standby.psql(`SELECT pg_last_wal_replay_lsn() >= '${lsn}'::pg_lsn`)) !== 't') {
      if (Date.now() > deadline) throw new Error('the standby does not follow')
    }
    const tar = join(archiveRoom(standby), 'standby.tar')
    const { facts } = await backUpTo(tar, standby)
    expect(facts.standby).toBe(true)
    expect(facts.timeline).toBe(1)
    const copied = await unpack(tar, standby)
    await standby.run('pg_verifybackup', [copied])
    expect(existsSync(join(copied, 'standby.signal'))).toBe(true)
    rmSync(join(copied, 'standby.signal'))
    const copy = await startCluster({ directory: copied, settings: { primary_conninfo: '' } })
    expect(await copy.psql(sumOfIncidents)).toBe(await primary.psql(sumOfIncidents))
  })
})

describe.skipIf(process.getuid?.() !== 0)('as root', () => {
  it('nothing of root’s is left in the data directory and in tablespaces', async () => {
    const cluster = await startCluster()
    await cluster.psql(`CREATE TABLESPACE fast LOCATION '${roomFor(cluster, 'fast')}'`)
    await backUpTo(join(archiveRoom(cluster), 'root.tar'), cluster)
    const { stdout } = await execa('find', [cluster.directory, join(cluster.room, 'fast'), '-uid', '0'])
    expect(stdout).toBe('')
  })
})

/** Changes one byte. */
function flip(path: string, at: number): void {
  const bytes = readFileSync(path)
  bytes[at] = (bytes[at] ?? 0) ^ 0xff
  writeFileSync(path, bytes)
}
