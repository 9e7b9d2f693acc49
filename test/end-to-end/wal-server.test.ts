import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeAll, describe, expect, it } from 'vitest'
import { walReader } from '../../src/operations/sealing/wal-seal-for.js'
import { restoreCommand } from '../../src/operations/wal/restore-command.js'
import type { WalArchive } from '../../src/repository/wal/types.js'
import { contiguousRanges } from '../../src/sources/postgres/wal-ranges.js'
import { forOthers } from '../helpers/checkout.js'
import { contextWith } from '../helpers/context.js'
import { roomFor, startCluster, type TestCluster } from '../helpers/postgres.js'
import { inBucket, inYaml, partName, testRepository } from '../helpers/repository-kind.js'
import { storedIn } from '../helpers/stored.js'
import { binary } from './helpers/run.js'
import { madeRepository } from './helpers/wal-place.js'

const program = process.getuid?.() === 0 ? forOthers(binary) : binary
const segmentBytes = 16 * 1024 * 1024

interface Lab {
  cluster: TestCluster
  repository: string
  config: string
  /** A base backup taken before the last rows, without WAL. */
  base: string
  archive: WalArchive
  rows: string
}

let lab: Lab

async function poll(what: string, done: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 90_000
  while (!(await done())) {
    if (Date.now() > deadline) throw new Error(`waited in vain for: ${what}`)
    await sleep(100)
  }
}

/** Switches the segment and waits until everything before is archived. */
async function archiveAll({ cluster }: Pick<Lab, 'cluster'>): Promise<void> {
  const last = await cluster.psql('SELECT pg_walfile_name(pg_switch_wal())')
  await poll(`${last} to be archived`, async () => {
    const sql = 'SELECT last_archived_wal FROM pg_stat_archiver'
    return (await cluster.psql(sql)) >= last
  })
}

beforeAll(async () => {
  const cluster = await startCluster({ stopped: true })
  const wanted = testRepository(join(cluster.room, 'repository'), join(cluster.room, 'key'), cluster)
  const { repository } = wanted
  const config = join(cluster.room, 'config.yaml')
  const owner = process.getuid?.() === 0 && !inBucket ? { owner: cluster.user } : {}
  const state = join(cluster.room, 'state')
  mkdirSync(state, { mode: 0o700 })
  chownSync(state, cluster.uid, cluster.gid)
  const made = await madeRepository(wanted, { ...owner, state })
  writeFileSync(
    config,
    `repositories: { local: ${inYaml(wanted)} }\nsources: { main: { kind: postgres } }\nstate: ${state}\n`,
  )
  chmodSync(config, 0o644)
  cluster.configure({
    archive_mode: 'on',
    archive_command: `NEXUS_BACKUP_NODE=${process.execPath} ${program} --config ${config} pitr archive %p`,
  })
  await cluster.start()
  await cluster.run('pgbench', ['-i', '-q', '-s', '3', cluster.connection])
  const base = join(cluster.room, 'base')
  await cluster.run('pg_basebackup', ['-D', base, '-X', 'none', '-c', 'fast', '-d', cluster.connection, '--no-sync'])
  await cluster.run('pgbench', ['-n', '-c', '4', '-t', '1000', cluster.connection])
  await cluster.psql('CREATE TABLE filler AS SELECT generate_series(1, 1500000) AS number')
  await archiveAll({ cluster })
  const rows = await cluster.psql('SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT count(*) FROM filler)')
  const system = await cluster.psql('SELECT system_identifier FROM pg_control_system()')
  const archive = made.source('main').wal(system, walReader(contextWith(wanted.keyFile), made))
  lab = { cluster, repository, config, base, archive, rows }
})

describe('archiving for a server under load', () => {
  it('stores every segment without a gap, and the server has counted no failure', async () => {
    const { cluster, archive } = lab
    const counted = await cluster.psql('SELECT archived_count, failed_count FROM pg_stat_archiver')
    const names = await archive.names()
    const ranges = contiguousRanges(names, segmentBytes)
    expect(ranges).toHaveLength(1)
    expect(ranges[0]?.first).toBe(1)
    expect(counted).toBe(`${names.length}|0`)
    expect(names.length).toBeGreaterThan(8)
    expect(names.some(name => name.endsWith('.backup'))).toBe(true)
    for (const name of names) {
      const { plain, header } = await archive.read(name)
      expect(plain.byteLength).toBe(header.bytes)
    }
  })

  // Nobody on this machine owns a bucket.
  it.skipIf(inBucket)('leaves nothing of root in the way of the server', () => {
    const { cluster, repository } = lab
    for (const path of readdirSync(repository, { recursive: true, encoding: 'utf8' })) {
      expect([path, statSync(join(repository, path)).uid]).toEqual([path, cluster.uid])
    }
  })

  it('goes on when a standby archives the same segments too', async () => {
    const { cluster, archive } = lab
    const before = await archive.names()
    const directory = copyOfBase('standby')
    const standby = await startCluster({ directory, stopped: true })
    writeFileSync(join(directory, 'standby.signal'), '')
    standby.configure({
      archive_mode: 'always',
      archive_command: `NEXUS_BACKUP_NODE=${process.execPath} ${program} --config ${lab.config} pitr archive --source main %p`,
      primary_conninfo: cluster.connection,
      restore_command: '',
    })
    cluster.configure({ wal_keep_size: '1GB' })
    await cluster.reload()
    // Segments that the standby streams again are those that the server has archived already.
    standby.configure({ restore_command: commandFor('main') })
    await standby.start()
    await cluster.psql('CREATE TABLE later AS SELECT generate_series(1, 300000) AS number')
    await archiveAll(lab)
    await poll('the standby to archive', async () => {
      const sql = 'SELECT archived_count > 0 AND failed_count = 0 FROM pg_stat_archiver'
      return (await standby.psql(sql)) === 't'
    })
    await standby.stop()
    expect((await archive.names()).length).toBeGreaterThan(before.length)
    await cluster.psql('DROP TABLE later')
    await archiveAll(lab)
  })
})

describe('recovery from the archive', () => {
  it('brings every row back, and leaves nothing of its own in pg_wal', async () => {
    const { rows } = lab
    const copy = await recovering('whole', commandFor('main'))
    await copy.start()
    await poll('the end of recovery', async () => (await copy.psql('SELECT pg_is_in_recovery()')) === 'f')
    const sql = 'SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT count(*) FROM filler)'
    expect(await copy.psql(sql)).toBe(rows)
    const wal = readdirSync(join(copy.directory, 'pg_wal'), { recursive: true, encoding: 'utf8' })
    expect(wal.filter(path => path.includes('nexus'))).toEqual([])
    await copy.stop()
  })

  /** Why Node may die under a restore_command, and how to make it. */
  const deaths: [string, (directory: string) => { command: string; env?: Record<string, string> }][] = [
    ['options that Node refuses', () => ({ command: commandFor('main'), env: { NODE_OPTIONS: '--bogus' } })],
    [
      'a module that is missing',
      directory => {
        const lonely = join(directory, 'bin/nexus-backup')
        mkdirSync(dirname(lonely))
        copyFileSync(binary, lonely)
        return { command: commandFor('main', { program: lonely }) }
      },
    ],
    [
      'SIGKILL',
      directory => {
        const node = join(directory, 'node')
        writeFileSync(node, '#!/bin/sh\nkill -9 $$\n', { mode: 0o755 })
        return { command: commandFor('main', { node }) }
      },
    ],
    ['a program that is gone', () => ({ command: commandFor('main', { program: '/nonexistent/nexus-backup' }) })],
    ['a configuration that is gone', () => ({ command: commandFor('main', { config: '/nonexistent.yaml' }) })],
  ]

  it.each(deaths)('stops instead of ending early: %s', async (why, dying) => {
    const name = `death-${deaths.findIndex(([reason]) => reason === why)}`
    const place = roomFor(lab.cluster, name)
    chmodSync(place, 0o755)
    const { command, env = {} } = dying(place)
    const copy = await recovering(`${name}-data`, command)
    await expectStopped(copy, env)
  })

  it('stops instead of ending early at a segment with a flipped byte', async () => {
    const { repository, archive } = lab
    const names = (await archive.names()).filter(name => /^[0-9A-F]{24}$/.test(name))
    const middle = names[names.length - 3] ?? ''
    const file = partName(`main/wal/${archive.systemIdentifier}/${middle.slice(0, 8)}/${middle}.zst`)
    const stored = storedIn(repository)
    const sound = stored.read(file)
    const bytes = Buffer.from(sound)
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 0x40
    stored.write(file, bytes)
    try {
      const copy = await recovering('flipped', commandFor('main'))
      await expectStopped(copy, {})
    } finally {
      stored.write(file, sound)
    }
  })
})

/** A stopped copy of the base backup, which belongs to the server's user. */
function copyOfBase(name: string): string {
  const directory = join(lab.cluster.room, name)
  cpSync(lab.base, directory, { recursive: true })
  for (const path of ['', ...readdirSync(directory, { recursive: true, encoding: 'utf8' })]) {
    chownSync(join(directory, path), lab.cluster.uid, lab.cluster.gid)
  }
  chmodSync(directory, 0o700)
  return directory
}

/** A copy of the base backup that will recover by this command to the end of the archive. */
async function recovering(name: string, command: string): Promise<TestCluster> {
  const directory = copyOfBase(name)
  const copy = await startCluster({ directory, stopped: true })
  copy.configure({ archive_mode: 'off', restore_command: command })
  writeFileSync(join(directory, 'recovery.signal'), '')
  return copy
}

function commandFor(
  source: string,
  { config = lab.config, ...other }: { node?: string; program?: string; config?: string } = {},
): string {
  return restoreCommand({ node: process.execPath, program, flags: ['--config', config], source, ...other })
}

/** The server ends with FATAL and has not come up with less than there was. */
async function expectStopped(copy: TestCluster, env: Record<string, string>): Promise<void> {
  const log = join(copy.room, 'server.log')
  const args = ['start', '-D', copy.directory, '-w', '-t', '60', '-l', log]
  // It may have come so far that it takes connections for reading.
  await copy.run('pg_ctl', args, env).catch(() => {})
  await poll('the server to end', async () => !existsSync(join(copy.directory, 'postmaster.pid')))
  const text = readFileSync(log, 'utf8')
  expect(text).toMatch(/FATAL: {2}could not restore file/)
  expect(text).not.toMatch(/archive recovery complete|ready to accept connections/)
}
