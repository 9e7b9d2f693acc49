import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { startCluster, type TestCluster } from '../helpers/postgres.js'
import {
  backupsIn,
  type ClusterPlace,
  clusterPlace,
  eventually,
  ownedBy,
  recovered,
  SOURCE,
} from './helpers/cluster.js'
import { archived, archiveInto, walFiles } from './helpers/recovery.js'

/** What an earlier recovery and a life as a standby left in the configuration of the cluster. */
const stale = {
  recovery_target_xid: '7',
  recovery_min_apply_delay: '1d',
  primary_conninfo: 'host=/nowhere',
  primary_slot_name: 'gone',
}
let primary: TestCluster
let place: ClusterPlace

/** The original, under backup and archived up to the last row. @returns what create said */
async function original(): Promise<string> {
  primary = await startCluster({ lean: true, stopped: true, settings: { archive_mode: 'on' } })
  primary.configure({ ...stale, archive_cleanup_command: `touch ${primary.room}/cleaned` })
  await primary.start()
  place = clusterPlace(primary, { more: [`data_directory: ${primary.directory}`] })
  await primary.psql("ALTER SYSTEM SET recovery_target_timeline = '1'")
  await primary.psql("ALTER SYSTEM SET recovery_min_apply_delay = '2d'")
  await primary.psql('CREATE TABLE t AS SELECT 1 AS n')
  await primary.stop()
  await primary.start()
  // Also the copies' own: it fails until there is a repository.
  await archiveInto(primary, place)
  // As a standby has it, or a cluster cloned from one that recovered.
  const signal = join(primary.directory, 'standby.signal')
  writeFileSync(signal, '')
  const { stderr } = await place.ok('create', [SOURCE, '--init', '--type', 'full', ...ownedBy(primary)])
  rmSync(signal)
  await primary.psql('INSERT INTO t VALUES (2)')
  await primary.psql("SELECT pg_create_restore_point('here')")
  await primary.psql('INSERT INTO t VALUES (3)')
  await archived(primary, place)
  return stderr
}

/** Restores with archiving kept, and makes a server of it that is started as an operator does. */
async function restored(...args: string[]): Promise<TestCluster> {
  const to = join(place.directory, `copy-${readdirSync(place.directory).length}`)
  await place.ok('pitr restore', [SOURCE, '--to', to, '--keep-archiving', ...args])
  return startCluster({ directory: to, stopped: true })
}

/** A standby as `pg_basebackup -R` makes it. */
async function cloned(from: TestCluster, name: string): Promise<TestCluster> {
  const directory = join(from.room, name)
  await from.run('pg_basebackup', ['-D', directory, '-R', '-c', 'fast', '-d', from.connection, '--no-sync'])
  // As create has told the operator of the original.
  const file = join(directory, 'postgresql.conf')
  writeFileSync(file, readFileSync(file, 'utf8').replace(/^(recovery_|primary_|archive_cleanup).*$/gm, ''))
  return startCluster({ directory, stopped: true })
}

/** Every name that says something of a recovery, in the file that wins over the others. */
function recoverySettingsOf({ directory }: TestCluster): string[] {
  const text = readFileSync(join(directory, 'postgresql.auto.conf'), 'utf8')
  return text.split('\n').filter(line => /^[^#]*(recovery|restore_command|archive_cleanup|include|primary_)/.test(line))
}

function leftovers(of: TestCluster): string[] {
  const names = [...readdirSync(of.directory), ...readdirSync(join(of.directory, 'pg_wal'))]
  return names.filter(name => /nexus|\.signal$/.test(name))
}

const histories = () => walFiles(place).filter(name => name.includes('.history'))

describe('the settings of a recovery', () => {
  it('are warned of where an earlier one left them in the source', async () => {
    const said = await original()
    expect(said).toMatch(/standby\.signal is left of an earlier recovery.*remove it/)
    expect(said).toContain("recovery_target_timeline = '1'")
    expect(said).toContain('ALTER SYSTEM RESET recovery_target_timeline;')
    expect(said).toMatch(/recovery_min_apply_delay = '172800000'.*ALTER SYSTEM RESET recovery_min_apply_delay/)
    expect(said).toMatch(/recovery_target_xid = '7'.*take it out of .*\/postgresql\.conf/)
  })

  it('are taken out by recover.mjs too', () => {
    const [id = ''] = backupsIn(place)
    const byHand = { ...primary, directory: recovered(place, id) }
    expect(recoverySettingsOf(byHand)).toEqual([])
    expect(leftovers(byHand)).toEqual([])
  })

  it('last exactly as long as it: through a crash, and not in a standby cloned meanwhile', async () => {
    const copy = await restored('--restore-point', 'here', '--target-action', 'pause')
    await copy.start()
    const paused = "SELECT pg_get_wal_replay_pause_state() || ' ' || (SELECT max(n) FROM t)"
    await eventually(copy, paused, 'paused 2')
    await copy.stop('immediate')
    await copy.start()
    await eventually(copy, paused, 'paused 2')
    const standby = await cloned(copy, 'early')
    expect(recoverySettingsOf(standby).filter(line => !/^include|^primary_conninfo/.test(line))).toEqual([])
    await standby.start()
    // ALTER SYSTEM writes what is included into the file itself.
    await copy.psql("ALTER SYSTEM SET work_mem = '5MB'")
    const before = histories()
    await copy.psql('SELECT pg_wal_replay_resume()')
    await eventually(copy, 'SELECT pg_is_in_recovery()', 'f')
    expect(recoverySettingsOf(copy)).toEqual([])
    expect(leftovers(copy)).toEqual([])
    await copy.psql('INSERT INTO t VALUES (40)')
    await eventually(standby, 'SELECT max(n) FROM t', '40')
    expect(await standby.psql('SELECT pg_is_in_recovery()')).toBe('t')
    await archived(copy, place)
    // The copy's own, and no one else's.
    expect(histories().length - before.length).toBe(1)
    await standby.stop()
    await copy.stop()
    await copy.start()
    expect(await copy.psql('SHOW work_mem')).toBe('5MB')
    expect(await copy.psql('SHOW recovery_target_name')).toBe('')
    await copy.stop()
  })

  it('of the base count for nothing: delay, second target, primary; a standby cloned afterwards follows', async () => {
    const copy = await restored('--end', '--timeline', '1')
    await copy.start()
    await eventually(copy, 'SELECT pg_is_in_recovery()', 'f')
    expect(await copy.psql('SELECT max(n) FROM t')).toBe('3')
    expect(existsSync(join(primary.room, 'cleaned'))).toBe(false)
    expect(recoverySettingsOf(copy)).toEqual([])
    expect(leftovers(copy)).toEqual([])
    const standby = await cloned(copy, 'late')
    await standby.start()
    await copy.psql('INSERT INTO t VALUES (50)')
    await eventually(standby, 'SELECT max(n) FROM t', '50')
    await archived(copy, place)
    await standby.stop()
    await copy.stop()
  })

  it('are gone after a restore in place too, and after one that a server of ours has run', async () => {
    const to = join(place.directory, 'ours')
    await place.ok('pitr restore', [SOURCE, '--to', to, '--restore-point', 'here', '--start', '--stop'])
    const ours = { ...primary, directory: to }
    expect(recoverySettingsOf(ours)).toEqual([])
    expect(leftovers(ours)).toEqual([])
    await primary.stop()
    await place.ok('restore', [SOURCE, '--in-place', '--confirm', SOURCE])
    expect(recoverySettingsOf(primary)).toHaveLength(1)
    await primary.start()
    await eventually(primary, 'SELECT pg_is_in_recovery()', 'f')
    expect(await primary.psql('SELECT max(n) FROM t')).toBe('1')
    expect(recoverySettingsOf(primary)).toEqual([])
    expect(leftovers(primary)).toEqual([])
  })
})
