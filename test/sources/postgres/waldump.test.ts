import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { findPrograms } from '../../../src/sources/postgres/programs.js'
import {
  endedTransaction,
  endOfTransaction,
  restorePointName,
  type WalRecord,
  walRecords,
} from '../../../src/sources/postgres/waldump.js'
import { startCluster } from '../../helpers/postgres.js'

describe('the records of the log', () => {
  it('tell when transactions ended, which ones, and names given to positions', async () => {
    const cluster = await startCluster({ settings: { max_prepared_transactions: '5' } })
    const first = await cluster.psql('SELECT pg_walfile_name(pg_current_wal_lsn())')
    await cluster.psql('CREATE TABLE t (a int)')
    const before = Number(await cluster.psql('SELECT extract(epoch FROM clock_timestamp()) * 1000'))
    const xid = await cluster.psql('INSERT INTO t VALUES (1) RETURNING txid_current()')
    const prepared = await cluster.psql('SELECT txid_current() + 1')
    await cluster.psql("BEGIN; INSERT INTO t VALUES (2); PREPARE TRANSACTION 'a b'")
    await cluster.psql("COMMIT PREPARED 'a b'")
    const rolled = await cluster.psql('SELECT txid_current() + 1')
    await cluster.psql('BEGIN; INSERT INTO t VALUES (3); ROLLBACK')
    const point = await cluster.psql("SELECT pg_create_restore_point('before 4.2')")
    const after = Number(await cluster.psql('SELECT extract(epoch FROM clock_timestamp()) * 1000'))
    const last = await cluster.psql('SELECT pg_walfile_name(pg_switch_wal())')

    const search = { binDirectory: cluster.bin, path: undefined }
    const programs = await findPrograms(search, { major: null, exact: false, programs: ['pg_waldump'] })
    const signal = new AbortController().signal
    const request = { programs, directory: join(cluster.directory, 'pg_wal'), from: first, to: last, env: {}, signal }
    const all: WalRecord[] = []
    for await (const record of walRecords(request)) all.push(record)
    const ends = all.filter(record => endOfTransaction(record) !== null)
    const numbers = ends.map(record => endedTransaction(record))
    expect(numbers).toEqual(expect.arrayContaining([Number(xid), Number(prepared), Number(rolled)]))
    const commit = ends.find(record => endedTransaction(record) === Number(xid))
    expect(commit && endOfTransaction(commit)).toBeGreaterThanOrEqual(before - 1)
    expect(commit && endOfTransaction(commit)).toBeLessThanOrEqual(after + 1)
    const named = all.filter(record => restorePointName(record) === 'before 4.2')
    expect(named).toHaveLength(1)
    expect(point > (named[0]?.lsn.replace(/\/0+/, '/') ?? '')).toBe(true)

    const transactions: WalRecord[] = []
    for await (const record of walRecords({ ...request, rmgr: 'Transaction' })) transactions.push(record)
    expect(transactions.map(({ lsn }) => lsn)).toEqual(expect.arrayContaining(ends.map(({ lsn }) => lsn)))
    expect(readdirSync(request.directory)).toContain(last)
  })

  it('end with an error where there is no log at all', async () => {
    const cluster = await startCluster({ stopped: true })
    const search = { binDirectory: cluster.bin, path: undefined }
    const programs = await findPrograms(search, { major: null, exact: false, programs: ['pg_waldump'] })
    const signal = new AbortController().signal
    const range = { from: '0000000100000000000000F0', to: '0000000100000000000000F1' }
    const request = { programs, directory: cluster.directory, ...range, env: {}, signal }
    const read = async () => {
      for await (const _ of walRecords(request)) throw new Error('a record')
    }
    await expect(read()).rejects.toMatchObject({ code: 'waldump_failed' })
  })
})
