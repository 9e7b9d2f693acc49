import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { amcheck, checksums } from '../../../src/sources/postgres/amcheck.js'
import { clusterAccount } from '../../../src/sources/postgres/cluster-owner.js'
import { findPrograms, type Programs } from '../../../src/sources/postgres/programs.js'
import { awaitRecovery } from '../../../src/sources/postgres/recovery.js'
import { contentChecks } from '../../../src/sources/postgres/restored-checks.js'
import { type PrivateServer, startServer } from '../../../src/sources/postgres/server.js'
import { startCluster, type TestCluster } from '../../helpers/postgres.js'

const isRoot = process.getuid?.() === 0
const env = { PATH: process.env.PATH, PGHOST: '/nowhere', PGUSER: 'nobody' }
let cluster: TestCluster
let programs: Programs
let account: Awaited<ReturnType<typeof clusterAccount>>

beforeAll(async () => {
  cluster = await startCluster({ initdb: ['--wal-segsize=1'] })
  await cluster.psql('CREATE TABLE t AS SELECT generate_series(1, 100) AS n')
  // The role that initdb made has another name than anybody would guess.
  await cluster.psql('CREATE ROLE boss SUPERUSER LOGIN')
  await asBoss(cluster.room, 'ALTER ROLE postgres RENAME TO chief')
  await cluster.stop()
  const major = Number.parseInt(readFileSync(join(cluster.directory, 'PG_VERSION'), 'utf8'), 10)
  const wanted = { major, exact: true, programs: ['postgres', 'psql'] }
  programs = await findPrograms({ binDirectory: cluster.bin, path: env.PATH }, wanted)
  account = await clusterAccount({ owner: cluster.user, uid: cluster.uid, gid: cluster.gid })
})

async function asBoss(socket: string, sql: string): Promise<string> {
  const args = ['-X', '-A', '-t', '-h', socket, '-p', '5432', '-U', 'boss', '-d', 'postgres', '-c', sql]
  return (await cluster.run('psql', args)).stdout
}

/** The server by itself on the cluster's data directory. */
async function started(pauses = false): Promise<PrivateServer> {
  const server = await startServer(programs, account, { directory: cluster.directory, captured: {}, pauses }, env)
  onTestFinished(async () => {
    await server.stop('immediate')
    server.forget()
  })
  return server
}

const wish = (users: readonly string[], signal = new AbortController().signal) => ({
  users,
  pauses: false,
  env,
  signal,
})

describe('a private server', () => {
  it('lets in whom we know, has no TCP port, and its room is closed to others', async () => {
    const server = await started()
    const { session, state } = await awaitRecovery(server, wish(['who', 'postgres', 'boss']))
    expect(state).toMatchObject({ timeline: 1, paused: false, lsn: expect.stringMatching(/^0\/[0-9A-F]+$/) })
    // As the one who may do everything, whatever he is called.
    expect(session.connection).toBe(`host='${server.room}' port=5432 dbname='postgres' user='chief'`)
    expect(session.env).not.toHaveProperty('PGHOST')
    expect(statSync(server.room).mode & 0o777).toBe(0o700)
    expect(statSync(server.room).uid).toBe(cluster.uid)
    const checks = await contentChecks(server, session, {
      queries: [
        'SELECT count(*) FROM t;',
        'SELECT n FROM t WHERE n < 3 -- the first ones',
        'SELECT count(*) > 100 AS more FROM t',
        'INSERT INTO t VALUES (1) RETURNING n',
        'SELECT 1 FROM nowhere',
        "SELECT repeat('x', 200000)",
      ],
      database: 'postgres',
      user: 'boss',
    })
    expect(checks.map(({ status, detail }) => [status, detail.slice(0, 60)])).toEqual([
      ['ok', '[{"count":100}]'],
      ['ok', '[{"n":1}, {"n":2}]'],
      ['failed', '[{"more":false}]'],
      ['error', expect.stringContaining('syntax error')],
      ['error', expect.stringContaining('nowhere')],
      ['error', expect.stringContaining('longer than 100000 characters')],
    ])
    expect(await amcheck(session)).toMatchObject({ name: 'pg_amcheck', status: 'ok' })
    const without = { ...session, programs: { ...programs, directory: '/nowhere' } }
    expect(await amcheck(without)).toMatchObject({
      status: 'skipped',
      detail: expect.stringContaining('no pg_amcheck'),
    })
    await server.stop()
    await server.stop()
    expect(() => server.assertAlive()).toThrowError(expect.objectContaining({ code: 'server_died' }))
    server.forget()
    expect(existsSync(server.room)).toBe(false)
  })

  it('that lets in nobody whom we know says which roles were tried, and where to name one', async () => {
    const server = await started()
    await expect(awaitRecovery(server, wish(['who', 'whoever']))).rejects.toMatchObject({
      kind: 'failed',
      code: 'role_unknown',
      message: expect.stringMatching(/"who".*"whoever"/s),
      hint: expect.stringContaining('user=NAME'),
    })
  })

  it('is waited for no longer after a signal', async () => {
    const server = await started()
    await expect(awaitRecovery(server, wish(['boss'], AbortSignal.abort(new Error('enough'))))).rejects.toThrow(
      'enough',
    )
  })

  it('that ends by itself is told in its own words, with its log', async () => {
    const control = join(cluster.directory, 'global/pg_control')
    const sound = readFileSync(control)
    const broken = Buffer.from(sound)
    broken.fill(0, 100, 200)
    writeFileSync(control, broken)
    try {
      const server = await started()
      await expect(awaitRecovery(server, wish(['boss']))).rejects.toMatchObject({
        kind: 'failed',
        code: 'server_died',
        message: expect.stringContaining('incorrect checksum in control file'),
        hint: `its log: ${server.log}`,
      })
    } finally {
      writeFileSync(control, sound)
    }
  })

  it('that pauses is at its target, or stuck before it when there is none or when its log says so', async () => {
    const signal = join(cluster.directory, 'standby.signal')
    writeFileSync(signal, '')
    try {
      const server = await started(true)
      await until(async () => (await asBoss(server.room, 'SELECT pg_is_in_recovery()')) === 't')
      await asBoss(server.room, 'SELECT pg_wal_replay_pause()')
      const { state } = await awaitRecovery(server, { ...wish(['boss']), pauses: true })
      expect(state).toMatchObject({ paused: true, lsn: expect.stringMatching(/^0\//) })
      const stuck = { kind: 'failed', code: 'recovery_stuck', hint: `its log says why: ${server.log}` }
      await expect(awaitRecovery(server, wish(['boss']))).rejects.toMatchObject(stuck)
      // A parameter was raised after the base: the server pauses wherever that is.
      const words = 'WARNING:  hot standby is not possible because of insufficient parameter settings'
      writeFileSync(server.log, `${readFileSync(server.log, 'utf8')}${words}\n`)
      await expect(awaitRecovery(server, { ...wish(['boss']), pauses: true })).rejects.toMatchObject(stuck)
    } finally {
      rmSync(signal)
    }
  })
})

/** Asks again until it is so; what fails meanwhile is not so yet. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 90_000
  while (!(await isSo().catch(() => false))) {
    if (Date.now() > deadline) throw new Error('waited in vain')
    await sleep(50)
  }
}

describe('page checksums of a stopped cluster', () => {
  const check = (enabled: boolean, directory = cluster.directory) =>
    checksums(programs, account, { directory, enabled, signal: new AbortController().signal })

  it('are skipped where there are none, and fail where they cannot be checked', async () => {
    expect(await check(false)).toMatchObject({ status: 'skipped', detail: 'data checksums are off in this cluster' })
    expect(await check(true)).toMatchObject({
      status: 'error',
      detail: expect.stringContaining('cluster must be shut down'),
    })
    const elsewhere = { ...programs, directory: '/nowhere' }
    const signal = new AbortController().signal
    expect(await checksums(elsewhere, account, { directory: '/x', enabled: true, signal })).toMatchObject({
      status: 'skipped',
    })
  })
})

describe.skipIf(!isRoot)('whose a restored cluster is', () => {
  it('is the captured owner’s by name, else by number, and never root’s', async () => {
    expect(await clusterAccount({ owner: 'nobody', uid: 1, gid: 1 })).toMatchObject({ name: 'nobody', uid: 65534 })
    expect(await clusterAccount({ owner: 'no-such-user', uid: 65534, gid: 65534 })).toMatchObject({ uid: 65534 })
    for (const owner of ['root', '', 'x; id', 'no-such-user']) {
      await expect(clusterAccount({ owner, uid: 0, gid: 0 })).rejects.toMatchObject({
        kind: 'refused',
        code: 'owner_is_root',
        hint: expect.stringContaining('sudo -u postgres'),
      })
    }
  })
})
