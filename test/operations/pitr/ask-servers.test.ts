import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { askServers } from '../../../src/operations/pitr/ask-servers.js'
import { runFake } from '../../cli/fake-io.js'
import { testContext } from '../../helpers/context.js'
import { startCluster, type TestCluster } from '../../helpers/postgres.js'
import { temporaryDirectory } from '../../helpers/temporary.js'

let cluster: TestCluster
beforeAll(async () => {
  cluster = await startCluster({ lean: true })
  await cluster.psql('CREATE ROLE nobody LOGIN; CREATE ROLE "Night Watch" LOGIN REPLICATION IN ROLE pg_monitor')
})

async function ask(user: string, wishes: { pitr?: number; dataDirectory?: string; dbname?: string } = {}) {
  const { dataDirectory = null, dbname = 'postgres', pitr } = wishes
  const connection = `host=${cluster.room} port=5432 user='${user}' dbname=${dbname}`
  const keep = pitr === undefined ? {} : { pitr }
  const [asked] = await askServers(testContext(), [
    { name: 'crm', connection, dataDirectory, binDirectory: null, keep },
  ])
  return { ...asked, codes: asked?.problems.map(({ code }) => code) }
}

describe('a server is asked', () => {
  it('and everything that it lacks is told at once', async () => {
    const { codes, problems } = await ask('nobody', { pitr: 1 })
    expect(codes).toEqual(['role_lacks_replication', 'role_lacks_monitor', 'role_lacks_switch'])
    for (const { message, hint } of problems ?? []) expect([message, hint].join()).toContain('nobody')
  })

  it('and a superuser lacks nothing but an archive, where one is configured', async () => {
    expect(await ask('postgres')).toMatchObject({ version: expect.stringMatching(/^\d+/), codes: [], away: null })
    expect((await ask('postgres', { pitr: 1 })).codes).toEqual(['archiving_off'])
  })

  it('and the commands that are told mend what is missing', async () => {
    const first = await ask('Night Watch', { pitr: 1 })
    expect(first.codes).toEqual(['role_lacks_switch', 'archiving_off'])
    const [, sql = ''] = /: (GRANT .*)$/.exec(first.problems?.[0]?.hint ?? '') ?? []
    await cluster.psql(sql)
    expect((await ask('Night Watch', { pitr: 1 })).codes).toEqual(['archiving_off'])
  })

  it('also through a connection for replication', async () => {
    const file = join(cluster.directory, 'pg_hba.conf')
    const before = readFileSync(file, 'utf8')
    writeFileSync(file, 'local all all trust\n')
    await cluster.reload()
    try {
      expect((await ask('Night Watch')).codes).toEqual(['authentication_failed'])
    } finally {
      writeFileSync(file, before)
      await cluster.reload()
    }
  })

  it('whether it is the one that is meant', async () => {
    expect((await ask('postgres', { dataDirectory: '/nonexistent' })).codes).toEqual(['data_directory_differs'])
    expect((await ask('postgres', { dbname: 'nothing' })).codes).toEqual(['database_missing'])
  })

  it('by config check, of which a server that is away is no mistake', async () => {
    const file = join(temporaryDirectory(), 'config.yaml')
    const connection = `host=${cluster.room} port=5432 user=nobody dbname=postgres`
    const check = async (source: string) => {
      writeFileSync(file, `repositories: { r: { path: /r } }\nsources:\n  crm: ${source}\n`, { mode: 0o600 })
      return runFake(['config', 'check', '--config', file, '--json'])
    }
    const lacking = await check(`{ kind: postgres, connection: "${connection}" }`)
    expect(lacking.status).toBe(3)
    const { valid, servers } = JSON.parse(lacking.stdout)
    expect([valid, servers[0].problems.length]).toEqual([true, 2])
    const away = await check(`{ kind: postgres, connection: "host=${temporaryDirectory()} user=nobody" }`)
    expect(away.status).toBe(0)
    expect(JSON.parse(away.stdout).servers).toMatchObject([{ source: 'crm', away: expect.any(String), problems: [] }])
    // A mistake in the file keeps nobody from hearing of the server.
    const both = await check(`{ kind: postgres, connection: "${connection}" }\nzone: x`)
    expect(both.status).toBe(7)
    expect(JSON.parse(both.stdout).servers[0].problems).toHaveLength(2)
  })
})
