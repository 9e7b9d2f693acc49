import { appendFileSync, cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { amcheck, checksums } from '../../../src/sources/postgres/amcheck.js'
import { clusterAccount } from '../../../src/sources/postgres/cluster-owner.js'
import { readControlData } from '../../../src/sources/postgres/control-data.js'
import { findPrograms, type Programs } from '../../../src/sources/postgres/programs.js'
import {
  largestOf,
  type RecoveredServer,
  type RecoveryWish,
  recoverServer,
} from '../../../src/sources/postgres/recovered-server.js'
import { contentChecks } from '../../../src/sources/postgres/restored-checks.js'
import { startCluster, type TestCluster } from '../../helpers/postgres.js'

/** What a cluster's own configuration may hold that keeps a copy from starting, delays it, or makes its checks fail. */
const alteredSystem = {
  archive_mode: 'always',
  archive_command: '/bin/false',
  authentication_timeout: '1s',
  bonjour_name: 'copy',
  default_transaction_isolation: 'serializable',
  default_transaction_read_only: 'on',
  dynamic_shared_memory_type: 'sysv',
  external_pid_file: '/nowhere/postmaster.pid',
  hba_file: '/nowhere/pg_hba.conf',
  huge_pages: 'on',
  ident_file: '/nowhere/pg_ident.conf',
  ignore_system_indexes: 'on',
  listen_addresses: '192.0.2.1',
  log_destination: 'syslog',
  log_min_messages: 'panic',
  logging_collector: 'on',
  log_directory: '/nowhere',
  post_auth_delay: '600',
  pre_auth_delay: '50',
  primary_conninfo: 'host=192.0.2.1',
  recovery_end_command: '/bin/false',
  restart_after_crash: 'on',
  session_preload_libraries: 'no_such_library',
  shared_buffers: '1TB',
  shared_memory_type: 'sysv',
  shared_preload_libraries: 'no_such_library',
  ssl: 'on',
  ssl_cert_file: '/nowhere/server.crt',
  statement_timeout: '1ms',
  superuser_reserved_connections: '99',
  synchronous_standby_names: 'nobody',
  unix_socket_directories: '/nowhere',
  unix_socket_group: 'no_such_group',
  wal_level: 'minimal',
  zero_damaged_pages: 'on',
}

/** The same of roles and databases, which win over every configuration. */
const alteredRoles = [
  'CREATE ROLE weak',
  'ALTER ROLE ALL SET statement_timeout = 1',
  'ALTER ROLE postgres SET lock_timeout = 1',
  'ALTER ROLE postgres SET idle_in_transaction_session_timeout = 1',
  'ALTER ROLE postgres SET default_transaction_read_only = on',
  'ALTER ROLE postgres SET default_transaction_isolation = serializable',
  'ALTER ROLE postgres SET role = weak',
  'ALTER ROLE postgres SET exit_on_error = on',
  'ALTER ROLE postgres SET temp_file_limit = 0',
  'ALTER ROLE postgres SET zero_damaged_pages = on',
  "ALTER DATABASE postgres SET session_preload_libraries = 'no_such_library'",
  "ALTER DATABASE postgres SET local_preload_libraries = 'no_such_library'",
  'ALTER DATABASE postgres SET search_path = shadow, pg_catalog',
  'ALTER DATABASE postgres SET default_tablespace = nowhere',
]

const shadow = [
  'CREATE SCHEMA shadow',
  'CREATE TABLE shadow.t AS SELECT generate_series(1, 100) AS n',
  'CREATE FUNCTION shadow.pg_is_in_recovery() RETURNS bool LANGUAGE sql AS $$ SELECT true $$',
  "CREATE FUNCTION no_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no DDL'; END $$",
  'CREATE EVENT TRIGGER no_ddl ON ddl_command_start EXECUTE FUNCTION no_ddl()',
]

const env = { PATH: process.env.PATH }
let cluster: TestCluster
let programs: Programs
/** File of the table. */
let relation: string
let account: Awaited<ReturnType<typeof clusterAccount>>

beforeAll(async () => {
  // Segments of 64 MB: two of them are more than PostgreSQL's own min_wal_size.
  cluster = await startCluster({ initdb: ['--wal-segsize=64', '--data-checksums'] })
  // In one session: the next would be refused, or time out.
  relation = (
    await cluster.psql([...alteredRoles, ...shadow, "SELECT pg_relation_filepath('shadow.t')"].join(';'))
  ).trim()
  await cluster.stop()
  const major = Number.parseInt(readFileSync(join(cluster.directory, 'PG_VERSION'), 'utf8'), 10)
  const wanted = { major, exact: true, programs: ['postgres', 'psql'] }
  programs = await findPrograms({ binDirectory: cluster.bin, path: env.PATH }, wanted)
  account = await clusterAccount({ owner: cluster.user, uid: cluster.uid, gid: cluster.gid })
})

/** A copy of the data directory with settings of its own. */
function copied(name: string, settings: Record<string, string>): string {
  const directory = join(cluster.room, name)
  cpSync(cluster.directory, directory, { recursive: true, preserveTimestamps: true })
  const lines = Object.entries(settings).map(([key, value]) => `${key} = '${value}'\n`)
  appendFileSync(join(directory, 'postgresql.auto.conf'), lines.join(''))
  return directory
}

async function recovered(directory: string, wishes: Partial<RecoveryWish> = {}): Promise<RecoveredServer> {
  await execa('chown', ['-R', `${cluster.uid}:${cluster.gid}`, directory])
  const control = await readControlData(programs, directory)
  const found = await recoverServer(programs, account, {
    directory,
    captured: control.settings,
    walSegmentBytes: control.walSegmentBytes,
    pauses: false,
    users: ['postgres'],
    databases: [],
    env: { server: env, sessions: env },
    signal: new AbortController().signal,
    ...wishes,
  })
  onTestFinished(async () => {
    await found.server.stop('immediate')
    found.server.forget()
    rmSync(directory, { recursive: true, force: true })
  })
  return found
}

describe('a server of ours on a copy', () => {
  it('runs whatever the copy’s own configuration, its roles and its databases say, and its checks see everything', async () => {
    const directory = copied('poisoned', alteredSystem)
    const { server, session, notes } = await recovered(directory)
    expect(notes).toEqual([])
    const checks = await contentChecks(server, session, {
      queries: [
        'SELECT count(*) FROM t',
        'SELECT a.n FROM t a, t b, t c ORDER BY random() LIMIT 0',
        'SELECT missing FROM t',
        'SELECT count(*) > 100 AS more FROM t',
      ],
      database: 'postgres',
      user: 'postgres',
    })
    expect(checks.map(({ status, detail }) => [status, detail.slice(0, 15)])).toEqual([
      ['ok', '[{"count":100}]'],
      ['ok', '[]'],
      ['error', expect.any(String)],
      ['failed', '[{"more":false}'],
    ])
    expect(checks[2]?.detail).toMatch(/column "missing" does not exist/)
    expect(await amcheck(session)).toMatchObject({ status: 'ok' })
    await server.stop()
    const { signal } = new AbortController()
    const pages = await checksums(programs, account, { directory, enabled: true, signal })
    expect(pages).toMatchObject({ status: 'ok' })
  })

  it('is started without libraries that do not run here, and says so', async () => {
    const captured = { shared_preload_libraries: 'pg_stat_statements, no_such_library' }
    const { notes } = await recovered(copied('libraries', {}), { captured })
    expect(notes).toMatchObject([
      { name: 'shared_preload_libraries', status: 'skipped', detail: expect.stringContaining('no_such_library') },
    ])
  })

  it('takes less of a machine that has no memory for as many connections', async () => {
    const captured = { max_connections: '200000', max_locks_per_transaction: '20000' }
    const { state } = await recovered(copied('memory', {}), { captured })
    expect(state.paused).toBe(false)
  })

  it('that cannot start says what is wrong in the configuration', async () => {
    const directory = copied('mistaken', { lc_time: 'xx_XX.nowhere' })
    await expect(recovered(directory)).rejects.toMatchObject({
      kind: 'failed',
      code: 'server_died',
      message: expect.stringContaining('lc_time'),
    })
  })

  it('finds what the copy lacks: that is wrong content, and no trouble of this machine', async () => {
    const directory = copied('lacking', {})
    rmSync(join(directory, relation))
    const { server, session } = await recovered(directory)
    const queries = ['SELECT count(*) FROM t']
    const [check] = await contentChecks(server, session, { queries, database: 'postgres', user: 'postgres' })
    expect(check).toMatchObject({ status: 'failed', detail: expect.stringMatching(/58P01: could not open file "base/) })
    expect(await amcheck(session)).toMatchObject({ status: 'failed' })
  })

  it('that has gone is no finding of its checks', async () => {
    const directory = copied('gone', {})
    const { server, session } = await recovered(directory)
    await server.stop('immediate')
    const queries = ['SELECT count(*) FROM t']
    const checks = await contentChecks(server, session, { queries, database: null, user: 'postgres' })
    expect([...checks, await amcheck(session)].map(({ status }) => status)).toEqual(['error', 'error'])
    const { signal } = new AbortController()
    // It was not shut down.
    expect(await checksums(programs, account, { directory, enabled: true, signal })).toMatchObject({ status: 'error' })
  })
})

describe('parameters that WAL needs as large as they were', () => {
  it('are raised to what they were raised to since the base, where the server must stand still', async () => {
    const source = await startCluster({ lean: true, settings: { max_connections: '20', wal_keep_size: '64MB' } })
    const directory = join(source.room, 'copy')
    await source.run('pg_basebackup', [
      '-h',
      source.room,
      '-U',
      'postgres',
      '-X',
      'none',
      '-c',
      'fast',
      '-D',
      directory,
    ])
    source.configure({ max_connections: '40' })
    await source.stop()
    await source.start()
    const target = (await source.psql("SELECT pg_create_restore_point('here')")).trim()
    await source.psql('SELECT pg_switch_wal()')
    const own = [
      `restore_command = 'cp ${source.directory}/pg_wal/%f %p'`,
      `recovery_target_lsn = '${target}'`,
      "recovery_target_action = 'pause'",
    ]
    appendFileSync(join(directory, 'postgresql.auto.conf'), `${own.join('\n')}\n`)
    writeFileSync(join(directory, 'recovery.signal'), '')
    const { state, server } = await recovered(directory, { pauses: true })
    expect(state.paused).toBe(true)
    expect(readFileSync(join(server.room, 'postgresql.conf'), 'utf8')).toContain("max_connections = '40'")
  })

  it('are the larger of what is known', () => {
    const control = { max_connections: '300', max_wal_senders: '5', track_commit_timestamp: 'on' }
    const asked = { max_connections: '100', max_wal_senders: '10', shared_preload_libraries: 'a' }
    expect(largestOf(control, asked)).toEqual({
      max_connections: '300',
      max_wal_senders: '10',
      track_commit_timestamp: 'on',
      shared_preload_libraries: 'a',
    })
  })
})
