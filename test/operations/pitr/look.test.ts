import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { lookInto } from '../../../src/operations/pitr/look.js'
import type { WalArchive } from '../../../src/repository/wal/types.js'
import { findPrograms } from '../../../src/sources/postgres/programs.js'
import { parseLsn, parseWalName, segmentName, segmentNumber } from '../../../src/sources/postgres/wal-names.js'
import {
  endOfTransaction,
  restorePointName,
  type WalRecord,
  walRecords,
} from '../../../src/sources/postgres/waldump.js'
import { testContext } from '../../helpers/context.js'
import { startCluster, type TestCluster } from '../../helpers/postgres.js'
import { temporaryDirectory } from '../../helpers/temporary.js'
import { system } from './histories.js'

const MIB = 1024 * 1024
const line = { timeline: 1, ancestors: [] }

/** The log of a server as an archive that can be read. */
function archiveOf({ directory }: TestCluster): WalArchive {
  const path = (name: string) => join(directory, 'pg_wal', name)
  const header = async (name: string) => ({ closed_at: statSync(path(name)).mtime.toISOString() })
  const partial = {
    header,
    read: async (name: string) => ({ header: await header(name), plain: readFileSync(path(name)) }),
  }
  return partial as unknown as WalArchive
}

describe('a look into the log', () => {
  it('finds the last transaction from any end, also across idle segments, as one scan of all does', async () => {
    const cluster = await startCluster({ initdb: ['--wal-segsize=1'], settings: { autovacuum: 'off' } })
    const first = await cluster.psql('SELECT pg_walfile_name(pg_current_wal_lsn())')
    await cluster.psql('CREATE TABLE t (a int, b text)')
    for (let at = 0; at < 12; at++) {
      await cluster.psql(`INSERT INTO t SELECT n, repeat('x', 60) FROM generate_series(1, 2500) AS n`)
    }
    const xid = await cluster.psql('INSERT INTO t VALUES (1) RETURNING txid_current()')
    for (const name of ['idle 1', 'idle 2', 'idle 3', 'idle 4']) {
      await cluster.psql(`SELECT pg_create_restore_point('${name}')`)
      await cluster.psql('SELECT pg_switch_wal()')
    }
    await cluster.stop('immediate')

    const names = readdirSync(join(cluster.directory, 'pg_wal')).filter(name => name.length === 24)
    const numbers = names.flatMap(name => {
      const parsed = parseWalName(name)
      return parsed?.kind === 'segment' ? [segmentNumber(parsed, MIB) ?? 0] : []
    })
    const from = numbers.sort((a, b) => a - b)[names.sort().indexOf(first)] ?? 0
    const search = { binDirectory: cluster.bin, path: undefined }
    const programs = await findPrograms(search, { major: null, exact: false, programs: ['pg_waldump'] })
    const scan = async (to: number): Promise<WalRecord[]> => {
      const range = { from: segmentName(1, from, MIB), to: segmentName(1, to - 1, MIB) }
      const { signal } = new AbortController()
      const all: WalRecord[] = []
      const request = { programs, directory: join(cluster.directory, 'pg_wal'), ...range, env: {}, signal }
      for await (const record of walRecords(request)) all.push(record)
      return all
    }
    // A recycled segment after the end holds old bytes under a new name.
    const written = await scan((numbers.at(-1) ?? 0) + 1)
    const end = Number((parseLsn(written.at(-1)?.lsn ?? '') ?? 0n) / BigInt(MIB)) + 1
    expect(end - from).toBeGreaterThan(6)

    const known = { ...system([], {}), segmentBytes: MIB, archive: archiveOf(cluster) }
    const context = testContext({ env: { PATH: process.env.PATH } })
    const look = lookInto(context, known, {
      major: programs.major,
      binDirectory: cluster.bin,
      scratch: temporaryDirectory(),
    })
    for (let to = from + 1; to <= end; to++) {
      const last = (await scan(to)).findLast(record => endOfTransaction(record) !== null)
      const found = await look.end(line, { first: from, to })
      expect(found.lastTransaction?.lsn).toBe(last && parseLsn(last.lsn))
      expect(found.closedAt).not.toBeNull()
    }
    const reach = { from, to: end, missing: null }
    expect(await look.lastRecord(line, reach)).toBe(parseLsn(written.at(-1)?.lsn ?? ''))
    const named = written.find(record => restorePointName(record) === 'idle 2')
    const all = { first: from, to: end }
    expect(await look.find(line, all, { restorePoint: 'idle 2', notBefore: 0n })).toBe(parseLsn(named?.lsn ?? ''))
    expect(await look.find(line, all, { xid: Number(xid), notBefore: 0n })).not.toBeNull()
    expect(await look.find(line, all, { xid: 999_999, notBefore: 0n })).toBeNull()
    const late = parseLsn(named?.lsn ?? '') ?? 0n
    expect(await look.find(line, all, { restorePoint: 'idle 2', notBefore: late + 1n })).toBeNull()
    expect(await look.end(line, { first: end, to: end })).toEqual({ lastTransaction: null, closedAt: null })
  })

  it('names the package where pg_waldump of the version is not installed', async () => {
    const known = { ...system([], { 1: [[1, 2]] }), archive: {} as WalArchive }
    const archive = {
      read: async () => ({ plain: Buffer.alloc(0) }),
      header: async () => ({ closed_at: '2025-11-03T00:00:00Z' }),
    }
    const context = testContext({ env: { PATH: '/nowhere' } })
    const wish = { major: 99, binDirectory: null, scratch: temporaryDirectory() }
    const look = lookInto(context, { ...known, archive: archive as unknown as WalArchive }, wish)
    await expect(look.end(line, { first: 1, to: 2 })).rejects.toMatchObject({
      code: 'programs_missing',
      hint: expect.stringContaining('postgresql-99'),
    })
  })
})
