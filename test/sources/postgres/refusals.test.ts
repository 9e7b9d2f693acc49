import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { startCluster, type TestCluster } from '../../helpers/postgres.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { archiveRoom, backUpTo, type CaptureOptions, capture } from './capturing.js'

const isRoot = process.getuid?.() === 0

const authentication = `
local all         postgres     trust
local replication postgres     trust
local replication unlisted     reject
local all         unlisted     scram-sha-256
local all         all          scram-sha-256
local replication all          scram-sha-256
`

/** A cluster that wants passwords of everybody but its superuser. */
async function withPasswords(settings: Record<string, string> = {}): Promise<TestCluster> {
  // 13 still makes md5 ones unless told otherwise.
  const cluster = await startCluster({
    stopped: true,
    settings: { password_encryption: 'scram-sha-256', ...settings },
  })
  writeFileSync(join(cluster.directory, 'pg_hba.conf'), authentication)
  await cluster.start()
  return cluster
}

/** A password file that the server's user may read. */
function passwordFile(cluster: TestCluster, name: string, password: string): string {
  const path = join(cluster.room, name)
  writeFileSync(path, `*:*:*:*:${password}\n`)
  chownSync(path, cluster.uid, cluster.gid)
  chmodSync(path, 0o600)
  return path
}

describe('who may take a base backup', () => {
  let cluster: TestCluster
  let right: string
  const as = (user: string): CaptureOptions => ({
    connection: `host=${cluster.room} user=${user}`,
    env: { PGPASSFILE: right },
  })
  beforeAll(async () => {
    cluster = await withPasswords()
    right = passwordFile(cluster, 'right', 'secret')
    // The role as the manual page gives it.
    await cluster.psql("CREATE ROLE nexus_backup LOGIN REPLICATION PASSWORD 'secret'")
    await cluster.psql('GRANT pg_monitor TO nexus_backup')
    await cluster.psql("CREATE ROLE unlisted LOGIN REPLICATION PASSWORD 'secret' IN ROLE pg_monitor")
    await cluster.psql("CREATE ROLE monitor_only LOGIN PASSWORD 'secret' IN ROLE pg_monitor")
    await cluster.psql("CREATE ROLE replication_only LOGIN REPLICATION PASSWORD 'secret'")
  })

  it('exactly LOGIN, REPLICATION and pg_monitor are enough, by password file', async () => {
    const { facts } = await backUpTo(join(archiveRoom(cluster), 'role.tar'), cluster, as('nexus_backup'))
    expect(facts).toMatchObject({ data_directory: cluster.directory, start_segment: expect.stringMatching(/^0{7}1/) })
  })

  it('the connection may come from libpq’s environment alone, or from a service file', async () => {
    const plain = { PGHOST: cluster.room, PGUSER: 'nexus_backup', PGPASSFILE: right }
    await expect(capture(cluster, { connection: '', env: plain })).resolves.toBeDefined()
    const services = join(cluster.room, 'services.conf')
    writeFileSync(services, `[crm]\nhost=${cluster.room}\nuser=nexus_backup\npassfile=${right}\n`)
    chmodSync(services, 0o644)
    const byService = { connection: 'service=crm', env: { PGSERVICEFILE: services }, dataDirectory: cluster.directory }
    const { facts } = await backUpTo(join(archiveRoom(cluster), 'service.tar'), cluster, byService)
    expect(facts.system_identifier).toMatch(/^\d+$/)
    await expect(capture(cluster, { ...byService, connection: 'service=other' })).rejects.toMatchObject({
      code: 'service_missing',
    })
  })

  /** Files that root alone may read: a password, the same as a home has it, and a service with that password. */
  function ofRoot(): Record<'home' | 'password' | 'services' | 'system', string> {
    const home = temporaryDirectory()
    const [password, services, system] = [join(home, '.pgpass'), join(home, 'services.conf'), join(home, 'etc')]
    writeFileSync(password, '*:*:*:nexus_backup:secret\n', { mode: 0o600 })
    const service = `[crm]\nhost=${cluster.room}\nuser=nexus_backup\npassfile=${password}\n`
    writeFileSync(services, service, { mode: 0o600 })
    mkdirSync(system, { mode: 0o700 })
    writeFileSync(join(system, 'pg_service.conf'), service)
    return { home, password, services, system }
  }

  it.skipIf(!isRoot)('root’s own files are enough for root, wherever libpq looks for them', async () => {
    const { home, password, services, system } = ofRoot()
    const user = `host=${cluster.room} user=nexus_backup`
    const dataDirectory = cluster.directory
    const ways: CaptureOptions[] = [
      { connection: `${user} passfile=${password}` },
      { connection: user, env: { HOME: home } },
      { connection: 'service=crm', env: { PGSERVICEFILE: services }, dataDirectory },
      { connection: '', env: { PGSERVICE: 'crm', PGSYSCONFDIR: system }, dataDirectory },
    ]
    for (const way of ways) await expect(capture(cluster, way), JSON.stringify(way)).resolves.toBeDefined()
    const archive = join(archiveRoom(cluster), 'root.tar')
    expect((await backUpTo(archive, cluster, ways[0])).facts).toMatchObject({ data_directory: cluster.directory })
  })

  it.skipIf(!isRoot)(
    'a file that only root can read does not keep the server’s user from what it needs no secret for',
    async () => {
      const { password } = ofRoot()
      await expect(capture(cluster, { env: { PGPASSFILE: password } })).resolves.toBeDefined()
      const gone = { connection: `host=${cluster.room} user=nexus_backup passfile=${password}.gone` }
      await expect(capture(cluster, gone)).rejects.toMatchObject({
        code: 'authentication_failed',
        hint: expect.stringContaining('~/.pgpass of root or of postgres (both are tried)'),
      })
    },
  )

  it('a password file that others can read is named with the command that closes it', async () => {
    const open = passwordFile(cluster, 'an open one', 'secret')
    chmodSync(open, 0o644)
    await expect(capture(cluster, { ...as('nexus_backup'), env: { PGPASSFILE: open } })).rejects.toMatchObject({
      code: 'authentication_failed',
      hint: expect.stringContaining(`chmod 600 '${open}'`),
    })
  })

  it('without REPLICATION it is told what to grant', async () => {
    await expect(capture(cluster, as('monitor_only'))).rejects.toMatchObject({
      code: 'role_lacks_replication',
      hint: 'as a superuser: ALTER ROLE monitor_only REPLICATION',
    })
  })

  it('without pg_monitor it is told what to grant', async () => {
    await expect(capture(cluster, as('replication_only'))).rejects.toMatchObject({
      code: 'role_lacks_monitor',
      hint: 'as a superuser: GRANT pg_monitor TO replication_only',
    })
  })

  it('a role that pg_hba.conf keeps from replication is told so, and leaves nothing running', async () => {
    const captured = await capture(cluster, as('unlisted'))
    await expect(captured.open(null)).rejects.toMatchObject({
      code: 'authentication_failed',
      hint: expect.stringContaining('pg_hba.conf'),
    })
    await captured.close()
  })

  it('a wrong password, none, and an unknown role are authentication failures with a next step', async () => {
    const wrong = { ...as('nexus_backup'), env: { PGPASSFILE: passwordFile(cluster, 'wrong', 'guess') } }
    await expect(capture(cluster, wrong)).rejects.toMatchObject({ code: 'authentication_failed' })
    await expect(capture(cluster, { ...as('nexus_backup'), env: {} })).rejects.toMatchObject({
      code: 'authentication_failed',
      hint: expect.stringContaining('.pgpass'),
    })
    await expect(capture(cluster, as('nobody_here'))).rejects.toMatchObject({ code: 'authentication_failed' })
  })

  it('a database that does not exist is named', async () => {
    const { connection } = cluster
    await expect(capture(cluster, { connection: `${connection} dbname=gone` })).rejects.toMatchObject({
      code: 'database_missing',
      message: expect.stringContaining('"gone"'),
      hint: expect.stringContaining('dbname=postgres'),
    })
  })
})

describe('a server that cannot be backed up now', () => {
  it('is down: the message says where it was looked for', async () => {
    const cluster = await startCluster({ stopped: true })
    await expect(capture(cluster)).rejects.toMatchObject({
      code: 'server_unreachable',
      message: expect.stringContaining(cluster.room),
    })
  })

  it('writes too little WAL', async () => {
    const cluster = await startCluster({ settings: { wal_level: 'minimal', max_wal_senders: '0' } })
    await expect(capture(cluster)).rejects.toMatchObject({ kind: 'refused', code: 'wal_level_minimal' })
  })

  it.each([
    ['the first', '0'],
    ['the second', '1'],
  ])('has no WAL sender left for %s of our two connections', async (_, senders) => {
    const cluster = await startCluster({ settings: { max_wal_senders: senders } })
    await expect(backUpTo(join(archiveRoom(cluster), 'none.tar'), cluster)).rejects.toMatchObject({
      code: 'wal_senders_exhausted',
      hint: expect.stringContaining('raise max_wal_senders'),
    })
  })

  it('has no replication slot left', async () => {
    const cluster = await startCluster({ settings: { max_replication_slots: '1' } })
    await cluster.psql("SELECT pg_create_physical_replication_slot('taken')")
    await expect(backUpTo(join(archiveRoom(cluster), 'none.tar'), cluster)).rejects.toMatchObject({
      code: 'slots_exhausted',
    })
  })

  it('dies in the middle: the archive that was cut off is an error of the server’s, not an end', async () => {
    const cluster = await startCluster()
    const captured = await capture(cluster)
    const { tar } = await captured.open(null)
    const reading = (async () => {
      let first = true
      for await (const _ of tar) {
        if (first) await cluster.stop('immediate')
        first = false
      }
    })()
    await expect(reading).rejects.toMatchObject({ code: 'server_unreachable' })
    await expect(captured.finish()).rejects.toMatchObject({ code: 'backup_incomplete' })
    await captured.close()
  })
})
