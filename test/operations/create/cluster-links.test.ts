import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { beforeAll, describe, expect, it } from 'vitest'
import { list } from '../../../src/operations/list.js'
import { verify } from '../../../src/operations/verify.js'
import { SOURCE } from '../../end-to-end/helpers/cluster.js'
import { startCluster, type TestCluster } from '../../helpers/postgres.js'
import { type BackedUpCluster, backedUpCluster } from '../clusters.js'

let cluster: TestCluster
let at: BackedUpCluster
/** A disk of its own, as far as links go. */
let elsewhere: string
let database: string

const owned = (path: string) => execa('chown', ['-hR', `${cluster.uid}:${cluster.gid}`, path])

/** Moves something of the data directory away and leaves a link to it. */
async function moved(name: string, as: string): Promise<string> {
  const [from, to] = [join(cluster.directory, name), join(elsewhere, as)]
  renameSync(from, to)
  symlinkSync(to, from)
  await owned(from)
  return to
}

beforeAll(async () => {
  cluster = await startCluster({ initdb: ['--wal-segsize=1'] })
  await cluster.psql('CREATE DATABASE big')
  await cluster.psql('CREATE TABLE t AS SELECT generate_series(1, 100) AS n', 'big')
  const oid = (await cluster.psql("SELECT oid FROM pg_database WHERE datname = 'big'")).trim()
  database = `base/${oid}`
  await cluster.stop()
  elsewhere = join(cluster.room, 'elsewhere')
  mkdirSync(join(elsewhere, 'log'), { recursive: true })
  for (const name of ['server.key', 'server.crt']) {
    writeFileSync(join(elsewhere, name), `of ${name}`)
    symlinkSync(join(elsewhere, name), join(cluster.directory, name))
  }
  symlinkSync(join(elsewhere, 'log'), join(cluster.directory, 'log'))
  await moved('pg_wal', 'wal')
  await execa('chown', ['-hR', `${cluster.uid}:${cluster.gid}`, elsewhere, cluster.directory])
  await cluster.start()
  at = backedUpCluster(cluster)
})

async function kept(): Promise<number> {
  const request = { repositories: [at.source.repository], source: SOURCE, all: true }
  return (await list(at.context, request)).backups.length
}

describe('links in a data directory', () => {
  it('that PostgreSQL follows itself, and those to its key and certificate, come with the backup', async () => {
    await at.backUp('full')
    const waldir = join(at.directory, 'wal')
    const to = at.target()
    const { notes } = await at.restore({ target: { kind: 'base' }, to, waldir, start: { stop: true } })
    expect(notes).toEqual([])
    expect(readlinkSync(join(to, 'pg_wal'))).toBe(waldir)
    expect(readdirSync(waldir)).toEqual(expect.arrayContaining([expect.stringMatching(/^[0-9A-F]{24}$/)]))
    expect(lstatSync(join(to, 'server.key')).isFile()).toBe(true)
    expect(lstatSync(join(to, 'server.key'))).toMatchObject({ uid: cluster.uid, mode: 0o100600 })
    expect(readFileSync(join(to, 'server.crt'), 'utf8')).toBe('of server.crt')
    const within = at.target()
    await expect(at.restore({ target: { kind: 'base' }, to: within, waldir: join(within, 'x') })).rejects.toBeDefined()

    // The settings of a recovery lie with the WAL, which is not in its place yet when they are written.
    await at.archive()
    const [recovered, beside] = [at.target(), join(at.directory, 'wal-of-recovery')]
    const { reached } = await at.restore({ to: recovered, waldir: beside, start: { stop: true } })
    expect(reached).toMatchObject({ timeline: 2, paused: false })
    expect(readdirSync(beside).filter(name => name.includes('nexus-backup'))).toEqual([])
    expect(readlinkSync(join(recovered, 'pg_wal'))).toBe(beside)
    const plain = await at.restore({ target: { kind: 'base' }, start: null })
    expect(plain.notes).toEqual([expect.stringMatching(/^pg_wal was a link to .*elsewhere\/wal .*--waldir DIR/)])
    const repositories = [at.source.repository]
    const { results } = await verify(at.context, at.journal, {
      repositories,
      sources: [at.source],
      targets: [],
      drill: true,
    })
    expect(results.map(({ status }) => status)).toEqual(['ok'])
  })

  it('to a database that was moved away fail the backup: the server leaves it out', async () => {
    const before = await kept()
    await cluster.stop()
    const place = await moved(database, 'big')
    await cluster.start()
    // The server itself finds nothing wrong.
    expect((await cluster.psql('SELECT count(*) FROM t', 'big')).trim()).toBe('100')
    await expect(at.backUp('full')).rejects.toThrow(/data_left_out.*does not follow the link base\/\d+/)
    expect(await kept()).toBe(before)
    await cluster.stop()
    await execa('rm', [join(cluster.directory, database)])
    renameSync(place, join(cluster.directory, database))
    await cluster.start()
    await expect(at.backUp('full')).resolves.toBeDefined()
  })

  it('have no part in a tablespace in the data directory itself: the server leaves it out without a word', async () => {
    await cluster.psql('ALTER SYSTEM SET allow_in_place_tablespaces = on')
    await cluster.reload()
    await cluster.psql("CREATE TABLESPACE inside LOCATION ''")
    await expect(at.backUp('full')).rejects.toThrow(/tablespace_in_place.*pg_tblspc\/\d+/)
  })
})
