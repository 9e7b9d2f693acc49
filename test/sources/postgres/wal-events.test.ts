import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { isoMicros } from '../../../src/model/micros.js'
import { findPrograms } from '../../../src/sources/postgres/programs.js'
import { eventOf, eventRecords, type WalEvent } from '../../../src/sources/postgres/wal-events.js'
import { formatLsn } from '../../../src/sources/postgres/wal-names.js'
import { WalRecords } from '../../../src/sources/postgres/wal-records.js'
import { majorIn, startCluster, type TestCluster } from '../../helpers/postgres.js'
import { type WalRecord, walRecords } from '../../helpers/waldump.js'

let cluster: TestCluster
let from: string
let to: string
const waldump: WalRecord[] = []

const nested = (count: number) =>
  `DO $$ BEGIN FOR n IN 1..${count} LOOP BEGIN INSERT INTO t VALUES (n); EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$`

it('a server writes all kinds of transactions, over many segments', async () => {
  cluster = await startCluster({
    initdb: ['--wal-segsize=1'],
    settings: {
      max_prepared_transactions: '5',
      allow_in_place_tablespaces: 'on',
      autovacuum: 'off',
      wal_keep_size: '1GB',
    },
  })
  from = await cluster.psql('SELECT pg_walfile_name(pg_current_wal_lsn())')
  await cluster.psql('CREATE TABLE t (a int)')
  await cluster.psql('INSERT INTO t SELECT n FROM generate_series(1, 40000) AS n')
  const script = join(cluster.room, 'insert.sql')
  writeFileSync(script, 'INSERT INTO t VALUES (1);')
  const load = () =>
    cluster.run('pgbench', [
      '-n',
      '-h',
      cluster.room,
      '-U',
      'postgres',
      '-c',
      '4',
      '-t',
      '200',
      '-f',
      script,
      'postgres',
    ])
  await load()
  await cluster.psql(
    "BEGIN; INSERT INTO t VALUES (2); SAVEPOINT s; INSERT INTO t VALUES (3); PREPARE TRANSACTION 'a b'",
  )
  await cluster.psql("BEGIN; CREATE TABLE p (a int); PREPARE TRANSACTION 'c'")
  await cluster.psql("COMMIT PREPARED 'a b'")
  await cluster.psql("ROLLBACK PREPARED 'c'")
  await cluster.psql('BEGIN; INSERT INTO t VALUES (3); CREATE TABLE gone (a int); ROLLBACK')
  // Its commit is longer than a page.
  await cluster.psql(nested(3000))
  await cluster.psql("SELECT pg_create_restore_point('before 4.2')")
  await cluster.psql('CREATE DATABASE copied')
  await cluster.psql('DROP DATABASE copied')
  if (majorIn(cluster.bin) >= 15) {
    await cluster.psql("CREATE TABLESPACE place LOCATION ''")
    await cluster.psql('DROP TABLESPACE place')
  }
  await load()
  await cluster.psql('SELECT pg_switch_wal()')
  await cluster.psql('INSERT INTO t VALUES (9)')
  to = await cluster.psql('SELECT pg_walfile_name(pg_switch_wal())')
  await cluster.stop('immediate')
  const programs = await findPrograms(
    { binDirectory: cluster.bin, path: undefined },
    { major: null, exact: false, programs: ['pg_waldump'] },
  )
  const directory = join(cluster.directory, 'pg_wal')
  const signal = new AbortController().signal
  for await (const record of walRecords({ programs, directory, from, to, env: {}, signal })) waldump.push(record)
})

function segments(): Buffer[] {
  const directory = join(cluster.directory, 'pg_wal')
  const names = readdirSync(directory).filter(name => name >= from && name <= to && name.length === 24)
  return names.sort().map(name => readFileSync(join(directory, name)))
}

it('every record is where pg_waldump finds it', () => {
  const records = new WalRecords(() => true)
  const found = segments().flatMap(segment => [...records.push(segment)].map(({ lsn, xid }) => `${lsn} ${xid}`))
  const position = (text: string) => {
    const [high = '', low = ''] = text.split('/')
    return (BigInt(`0x${high}`) << 32n) + BigInt(`0x${low}`)
  }
  expect(found).toEqual(waldump.map(({ lsn, xid }) => `${position(lsn)} ${xid}`))
  expect(segments().length).toBeGreaterThan(8)
})

it('every end of a transaction has the number and the microsecond that pg_waldump prints', () => {
  const records = new WalRecords(eventRecords)
  const events = segments().flatMap(segment =>
    [...records.push(segment)].flatMap(record => eventOf(record, majorIn(cluster.bin)) ?? []),
  )
  const line = (event: WalEvent) => {
    const place = formatLsn(event.lsn)
    if (event.kind === 'commit' || event.kind === 'abort')
      return `${place} ${event.kind} ${event.xid} ${isoMicros(event.at)}`
    if (event.kind === 'restore-point') return `${place} ${event.name}`
    if (event.kind === 'next-xid') return `${place} next ${event.xid}`
    if (event.kind === 'parameters') return `${place} parameters ${event.isMinimal ? 'minimal' : 'replica'}`
    return `${place} drop ${event.what} ${event.oid}`
  }
  const expected = waldump.flatMap(({ lsn, xid, description }) => {
    const place = lsn.replace(/\/0+(?=.)/, '/')
    const [, kind = '', prepared, day, time] =
      /^(COMMIT|ABORT)(?:_PREPARED (\d+):)?.*?(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d\.\d{6}) UTC/.exec(description) ?? []
    if (kind !== '') return [`${place} ${kind.toLowerCase()} ${prepared ?? xid} ${day}T${time}Z`]
    const name = /^RESTORE_POINT (.*)$/.exec(description)?.[1]
    if (name !== undefined) return [`${place} ${name}`]
    const next = /^(?:RUNNING_XACTS nextXid |CHECKPOINT_\w+ .*; xid \d+:)(\d+)/.exec(description)?.[1]
    if (next !== undefined) return [`${place} next ${next}`]
    const level = /^PARAMETER_CHANGE .* wal_level=(\w+)/.exec(description)?.[1]
    if (level !== undefined) return [`${place} parameters ${level}`]
    const database = /^DROP dir \d+\/(\d+)$/.exec(description)?.[1]
    if (database !== undefined) return [`${place} drop database ${database}`]
    const tablespace = /^DROP (\d+)$/.exec(description)?.[1]
    return tablespace === undefined ? [] : [`${place} drop tablespace ${tablespace}`]
  })
  expect(expected.length).toBeGreaterThan(1600)
  expect(events.map(line)).toEqual(expected)
  const largest = events.flatMap(event => (event.kind === 'commit' ? [event.members.length] : []))
  expect(Math.max(...largest)).toBe(3000)
})

it('from any segment on the same records follow', () => {
  const all = segments()
  const whole = new WalRecords(() => true)
  const every = all.flatMap(segment => [...whole.push(segment)])
  // But for the one that was begun before.
  const late = new WalRecords(() => true)
  const some = all.slice(5).flatMap(segment => [...late.push(segment)])
  expect(some.map(({ lsn }) => lsn)).toEqual(every.slice(-some.length).map(({ lsn }) => lsn))
})
