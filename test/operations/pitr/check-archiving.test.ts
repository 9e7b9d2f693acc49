import { existsSync, readdirSync, rmSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { copy } from '../../../src/operations/copy.js'
import { type CheckedArchiving, checkPitr } from '../../../src/operations/pitr/check-archiving.js'
import { verify } from '../../../src/operations/verify.js'
import { SOURCE } from '../../end-to-end/helpers/cluster.js'
import { binary } from '../../end-to-end/helpers/run.js'
import { startCluster, type TestCluster } from '../../helpers/postgres.js'
import { type BackedUpCluster, backedUpCluster } from '../clusters.js'

let cluster: TestCluster
let at: BackedUpCluster

beforeAll(async () => {
  cluster = await startCluster({ lean: true, settings: { archive_mode: 'on', archive_command: '' } })
  at = backedUpCluster(cluster, { keep: { pitr: 24 * 3600 * 1000 } })
})

async function archiveBy(command: string): Promise<void> {
  cluster.configure({ archive_command: command })
  await cluster.reload()
}

const ours = () => `NEXUS_BACKUP_NODE=${process.execPath} ${binary} pitr archive %p --config ${at.config} || exit 1`

/** Looks until a query is true: the archiver works by itself. */
async function until(sql: string): Promise<void> {
  while ((await cluster.psql(sql)) !== 't') await new Promise(resolve => setImmediate(resolve))
}

function check(timeoutMs: number, wishes: { dryRun?: boolean; connection?: string } = {}) {
  const { dryRun = false, connection = at.source.connection } = wishes
  const sources = [{ ...at.source, connection }]
  return checkPitr(at.context, at.journal, { sources, timeoutMs, recovery: at.recovery, dryRun })
}

describe('pitr check', () => {
  it('proves an archive that works: a segment is stored, and fetched as the user of the server', async () => {
    await at.backUp('full')
    await archiveBy(ours())
    const { checked, failures } = await check(120_000)
    expect(failures).toEqual([])
    const [{ segment, stored_ms: storedMs }] = checked as [CheckedArchiving]
    expect(segment).toMatch(/^[0-9A-F]{24}$/)
    expect(storedMs).toBeGreaterThanOrEqual(0)
    // The server runs here, and has only just begun: its pace is not known.
    expect(checked[0]?.pg_wal).toMatchObject({ free_bytes: expect.any(Number), waiting_bytes: 0 })
    expect(checked[0]).not.toHaveProperty('copies')
    expect(at.journal.heard.at(-1)).toBe('pitr check done')
  })

  it('says how far copies are behind, and when one cannot be asked', async () => {
    const repository = { name: 'offsite', path: join(at.directory, 'offsite') }
    const source = { ...at.source, copies: [{ repository, keep: {} }], walCopies: 'async' as const }
    const ask = () => {
      return checkPitr(at.context, at.journal, { sources: [source], timeoutMs: 0, recovery: at.recovery, dryRun: true })
    }
    expect((await ask()).failures).toMatchObject([{ code: 'copy_unreachable', hint: expect.stringContaining('copy') }])
    const tasks = [{ source: SOURCE, from: at.source.repository, to: repository }]
    await copy(at.context, at.journal, { tasks, init: true, dryRun: false })
    const { checked, failures } = await ask()
    expect([checked[0]?.copies, failures]).toEqual([
      [{ repository: repository.path, behind: 0, since: null, problem: null }],
      [],
    ])
    rmSync(repository.path, { recursive: true })
  })

  it('only asks on a dry run', async () => {
    const before = await cluster.psql('SELECT pg_current_wal_lsn()')
    expect(await check(0, { dryRun: true })).toMatchObject({
      checked: [
        { segment: null, last_archived: { name: expect.any(String), at: expect.any(String) }, last_failed: null },
      ],
      failures: [],
    })
    expect(await cluster.psql('SELECT pg_current_wal_lsn()')).toBe(before)
  })

  it('names the right that the role lacks', async () => {
    await cluster.psql('CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher')
    const connection = `host=${cluster.room} port=5432 user=watcher dbname=postgres`
    const { failures } = await check(0, { connection })
    expect(failures).toMatchObject([
      {
        code: 'role_lacks_switch',
        hint: expect.stringContaining('GRANT EXECUTE ON FUNCTION pg_switch_wal() TO watcher'),
      },
    ])
  })

  it('says that segments go elsewhere', async () => {
    await archiveBy('true')
    const { failures } = await check(3000)
    expect(failures[0]?.code).toMatch(/^archived_elsewhere$|^archiving_slow$/)
  })

  it('says that archiving fails, and so do create and verify, which then are partly done', async () => {
    await archiveBy('/bin/false')
    await cluster.psql("SELECT pg_logical_emit_message(false, 'x', 'y'); SELECT pg_switch_wal()")
    await until('SELECT coalesce(last_failed_time > last_archived_time, false) FROM pg_stat_archiver')
    expect((await check(0)).failures).toMatchObject([{ kind: 'failed', code: 'archiving_fails' }])
    expect(await at.backUp('incr')).toMatchObject({ concerns: [{ source: SOURCE, code: 'archiving_fails' }] })
    const request = { repositories: [at.source.repository], sources: [at.source], targets: [], drill: false }
    expect(await verify(at.context, at.journal, request)).toMatchObject({ concerns: [{ code: 'archiving_fails' }] })
    const withoutPitr = { ...request, sources: [{ ...at.source, keep: {} }] }
    expect(await verify(at.context, at.journal, withoutPitr)).not.toHaveProperty('concerns')
  })

  it('says that segments wait when the server counts no failure', async () => {
    await archiveBy('exit 127')
    await cluster.psql("SELECT pg_stat_reset_shared('archiver')")
    const status = join(cluster.directory, 'pg_wal/archive_status')
    for (const name of readdirSync(status)) if (name.endsWith('.ready')) utimesSync(join(status, name), 1, 1)
    expect((await check(0)).failures).toMatchObject([{ code: 'archiving_waits' }])
  })

  it('says that nothing is archived at all where keep.pitr wants it', async () => {
    cluster.configure({ archive_mode: 'off' })
    await cluster.stop()
    await cluster.start()
    expect((await check(0)).failures).toMatchObject([{ code: 'archiving_off' }])
    expect(await at.backUp('incr')).toMatchObject({ concerns: [{ code: 'archiving_off' }] })
    expect(existsSync(at.repository)).toBe(true)
  })
})
