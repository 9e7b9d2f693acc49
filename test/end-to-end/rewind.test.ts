import { appendFileSync, existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { restoreCommand } from '../../src/operations/wal/restore-command.js'
import { forOthers } from '../helpers/checkout.js'
import { startCluster } from '../helpers/postgres.js'
import { clusterPlace, eventually, ownedBy, SOURCE } from './helpers/cluster.js'
import { archived, archiveInto } from './helpers/recovery.js'
import { binary } from './helpers/run.js'

const wal = { min_wal_size: '2MB', max_wal_size: '4MB', wal_keep_size: '0', wal_log_hints: 'on' }

describe('pg_rewind -c', () => {
  it('takes what it needs from the archive, and the cluster follows its new primary', async () => {
    const old = await startCluster({ lean: true, settings: { archive_mode: 'on', archive_command: '', ...wal } })
    const place = clusterPlace(old)
    await place.backUp('full', ownedBy(old))
    await archiveInto(old, place)
    const program = process.getuid?.() === 0 ? forOthers(binary) : binary
    const { config } = place
    const command = { node: process.execPath, program, flags: ['--config', config], source: SOURCE }
    old.configure({ restore_command: restoreCommand(command) })
    await old.psql("CREATE TABLE t AS SELECT n, repeat('x', 100) AS v FROM generate_series(1, 2000) n")
    const clone = join(old.room, 'clone')
    await old.run('pg_basebackup', ['-D', clone, '-R', '-c', 'fast', '-d', old.connection, '--no-sync'])
    const next = await startCluster({ directory: clone, settings: { archive_mode: 'off' } })
    await next.psql('SELECT pg_promote()')
    await next.psql("INSERT INTO t SELECT n, 'of the new one' FROM generate_series(10001, 10010) n")
    await next.psql('CHECKPOINT')
    // The old one goes on until what it wrote before the fork is only in the archive.
    const fork = await old.psql('SELECT pg_walfile_name(pg_current_wal_lsn())')
    for (let round = 0; round < 30 && existsSync(join(old.directory, 'pg_wal', fork)); round += 1) {
      await old.psql("INSERT INTO t SELECT n, repeat('y', 500) FROM generate_series(1, 3000) n")
      await archived(old, place)
      await old.psql('CHECKPOINT')
    }
    expect(existsSync(join(old.directory, 'pg_wal', fork))).toBe(false)
    await old.stop()
    // As the archiver may have left it; pg_rewind wants to remove it itself.
    mkdirSync(join(old.directory, 'pg_wal/.nexus-backup'), { recursive: true })
    const source = `${next.connection} dbname=postgres`
    const { stderr } = await old.run('pg_rewind', ['-c', '-D', old.directory, '--source-server', source, '--no-sync'])
    expect(stderr).toContain('Done!')
    expect(statSync(join(old.directory, 'pg_hba.conf')).size).toBeGreaterThan(0)
    expect(readdirSync(join(old.directory, 'pg_wal')).filter(name => name.includes('nexus'))).toEqual([])
    writeFileSync(join(old.directory, 'standby.signal'), '')
    const settings = `primary_conninfo = '${next.connection}'\nunix_socket_directories = '${old.room}'\n`
    appendFileSync(join(old.directory, 'postgresql.auto.conf'), settings)
    await old.start()
    await next.psql("INSERT INTO t VALUES (20000, 'later')")
    await eventually(old, 'SELECT max(n) FROM t', '20000')
    await old.stop()
    await next.stop()
  })
})
