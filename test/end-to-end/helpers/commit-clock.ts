import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { findPrograms } from '../../../src/sources/postgres/programs.js'
import { startCluster, type TestCluster } from '../../helpers/postgres.js'
import { endedTransaction, endOfTransaction, walRecords } from '../../helpers/waldump.js'
import { type ClusterPlace, clusterPlace, ownedBy, SOURCE } from './cluster.js'
import { archived, archiveInto } from './recovery.js'

/** A commit as the server remembers it, and where it stands among the others in the WAL. */
export interface TimedCommit {
  id: number
  xid: number
  /** With microseconds, as PostgreSQL's clock of commits tells. */
  at: string
  place: number
}

/** A cluster with a clock of commits, two backups and a timeline that was left between them. */
export interface CommitClock {
  cluster: TestCluster
  place: ClusterPlace
  commits: TimedCommit[]
}

const IDS = `md5(coalesce(string_agg(id::text, ',' ORDER BY id), ''))`

/** Some clients commit at once, as fast as they can. */
async function load(cluster: TestCluster, transactions: number): Promise<void> {
  const script = join(cluster.room, 'tick.sql')
  writeFileSync(script, 'INSERT INTO ticks DEFAULT VALUES;\n')
  const size = ['-c', '4', '-t', String(Math.ceil(transactions / 4))]
  await cluster.run('pgbench', ['-n', '-h', cluster.room, '-U', 'postgres', ...size, '-f', script, 'postgres'])
}

/** @param transactions of each of the three stretches */
export async function commitClock(transactions: number): Promise<CommitClock> {
  const cluster = await startCluster({
    lean: true,
    settings: {
      archive_mode: 'on',
      archive_command: '',
      autovacuum: 'off',
      track_commit_timestamp: 'on',
      wal_keep_size: '1GB',
    },
  })
  await cluster.psql('CREATE TABLE ticks (id bigserial)')
  const place = clusterPlace(cluster, { more: [`checks: ["SELECT count(*) AS count, ${IDS} AS ids FROM ticks"]`] })
  await place.backUp('full', ownedBy(cluster))
  await archiveInto(cluster, place)
  await load(cluster, transactions)
  await leaveTimeline(cluster)
  await load(cluster, transactions)
  await place.backUp('incr')
  await load(cluster, transactions)
  await archived(cluster, place)
  return { cluster, place, commits: await commitsOf(cluster) }
}

/** Ends a recovery in the data directory itself: what follows is on a new timeline. */
async function leaveTimeline(cluster: TestCluster): Promise<void> {
  await cluster.stop()
  cluster.configure({ restore_command: 'false' })
  const signal = join(cluster.directory, 'recovery.signal')
  await cluster.run('/bin/touch', [signal])
  await cluster.start()
  await expect.poll(() => cluster.psql('SELECT pg_is_in_recovery()'), { timeout: 60_000 }).toBe('f')
}

async function commitsOf(cluster: TestCluster): Promise<TimedCommit[]> {
  const clock = `to_char(pg_xact_commit_timestamp(xmin) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`
  const rows = await cluster.psql(`SELECT id, xmin, ${clock} FROM ticks ORDER BY id`)
  const places = await placesOf(cluster)
  return rows.split('\n').map(row => {
    const [id, xid, at = ''] = row.split('|')
    const found = places.get(Number(xid))
    if (found === undefined) throw new Error(`pg_waldump does not know transaction ${xid}`)
    return { id: Number(id), xid: Number(xid), at, place: found }
  })
}

/** In which order transactions ended, as pg_waldump tells of every timeline. */
async function placesOf(cluster: TestCluster): Promise<Map<number, number>> {
  const programs = await findPrograms(
    { binDirectory: cluster.bin, path: undefined },
    { major: null, exact: false, programs: ['pg_waldump'] },
  )
  const directory = join(cluster.directory, 'pg_wal')
  const names = readdirSync(directory)
    .filter(name => /^[0-9A-F]{24}$/.test(name))
    .sort()
  const places = new Map<number, number>()
  for (const timeline of new Set(names.map(name => name.slice(0, 8)))) {
    const own = names.filter(name => name.startsWith(timeline))
    const range = { from: own[0] ?? '', to: own.at(-1) ?? '' }
    const request = { programs, directory, ...range, env: {}, signal: new AbortController().signal }
    for await (const record of walRecords(request)) {
      const xid = endOfTransaction(record) === null ? null : endedTransaction(record)
      if (xid !== null && !places.has(xid)) places.set(xid, places.size)
    }
  }
  return places
}

/** Restores to a time and fails the test unless exactly the commits that are not after it are there. */
export async function expectCommits({ place, commits }: CommitClock, at: string): Promise<void> {
  // Some are written a moment out of order: what stands before the last one that is not after the time is there.
  const early = commits.filter(commit => commit.at <= at)
  const last = early.reduce((most, commit) => Math.max(most, commit.place), -1)
  const expected = commits.filter(commit => commit.place <= last)
  const to = join(place.directory, 'copies', at.replaceAll(/\W/g, ''))
  mkdirSync(join(place.directory, 'copies'), { recursive: true, mode: 0o755 })
  const { code, document, error } = await place.json('pitr restore', [
    SOURCE,
    '--at',
    at,
    '--to',
    to,
    '--start',
    '--stop',
  ])
  expect(error, at).toBeUndefined()
  expect(code, at).toBe(0)
  const [{ detail }] = document.checks
  const ids = expected.map(({ id }) => id).sort((a, b) => a - b)
  const { createHash } = await import('node:crypto')
  const digest = createHash('md5').update(ids.join()).digest('hex')
  expect(JSON.parse(detail), at).toEqual([{ count: ids.length, ids: digest }])
  const newest = expected.find(commit => commit.place === last)
  if (newest !== undefined && document.last_commit !== null) {
    expect(document.last_commit, at).toMatchObject({ xid: String(newest.xid), at: newest.at })
  }
  rmSync(to, { recursive: true })
}

/** Times on commits, a microsecond before them, and between them. */
export function randomTimes(commits: readonly TimedCommit[], count: number, random = Math.random): string[] {
  const micros = (text: string) => BigInt(Date.parse(text)) * 1000n + BigInt(text.slice(-4, -1))
  const written = (at: bigint) =>
    `${new Date(Number(at / 1000n)).toISOString().slice(0, -1)}${String(at % 1000n).padStart(3, '0')}Z`
  return Array.from({ length: count }, (_, round) => {
    const at = Math.floor(random() * (commits.length - 1))
    const own = micros(commits[at]?.at ?? '')
    const next = micros(commits[at + 1]?.at ?? '')
    if (round % 3 === 0) return written(own)
    return written(round % 3 === 1 ? own - 1n : own + (next > own ? (next - own) / 2n : 0n))
  })
}
