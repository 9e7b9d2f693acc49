import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { planClusterRestore, restoreCluster } from '../../../src/operations/pitr/restore-cluster.js'
import type { RestoreRequest } from '../../../src/operations/requests.js'
import { planRestore, restore } from '../../../src/operations/restore.js'
import { planRollback, rollback } from '../../../src/operations/rollback.js'
import { verify } from '../../../src/operations/verify.js'
import { readControlFile } from '../../../src/sources/postgres/control-file.js'
import { contentOf, eventually, SOURCE } from '../../end-to-end/helpers/cluster.js'
import { fakeSystemctl } from '../../end-to-end/helpers/systemctl.js'
import { makeTablespaces } from '../../end-to-end/helpers/tablespaces.js'
import { startCluster, type TestCluster } from '../../helpers/postgres.js'
import { archiving, type BackedUpCluster, backedUpCluster } from '../clusters.js'

let cluster: TestCluster
let at: BackedUpCluster
let content: Record<string, string>

beforeAll(async () => {
  cluster = await startCluster({ initdb: ['--wal-segsize=1'], settings: archiving })
  at = backedUpCluster(cluster, { dataDirectory: cluster.directory })
  await cluster.psql('CREATE TABLE t AS SELECT generate_series(1, 1000) AS n')
  await at.backUp('full')
  content = await contentOf(cluster)
  await cluster.psql('DELETE FROM t WHERE n > 10')
  await at.archive()
})

function request(wishes: Partial<RestoreRequest> = {}): RestoreRequest {
  return {
    repositories: [at.source.repository],
    backup: SOURCE,
    target: { kind: 'in-place', source: at.source },
    source: at.source,
    at: undefined,
    dryRun: false,
    recovery: at.recovery,
    ...wishes,
  }
}

/** What lies beside the data directory, but for the server's own. */
const beside = () => readdirSync(cluster.room).filter(name => name.startsWith('.') && !name.startsWith('.s.'))

describe('a cluster in place', () => {
  it('is refused while its server runs, and so is a rollback', async () => {
    await expect(planRestore(at.context, request())).rejects.toMatchObject({
      kind: 'refused',
      code: 'server_running',
      message: expect.stringContaining(String(lineOf('postmaster.pid'))),
    })
    expect(await cluster.psql('SELECT count(*) FROM t')).toBe('10')
  })

  it('is swapped in, keeps what stood there, and goes on on a timeline of its own', async () => {
    await cluster.stop()
    const plan = await planRestore(at.context, request())
    expect(plan).toMatchObject({ target: cluster.directory, in_place: true, replaces: true, service: null })
    expect(plan.previous).toMatch(new RegExp(`^${cluster.directory}\\.before-restore-`))
    const result = await restore(at.context, at.journal, request({ previous: plan.previous }))
    expect(result).toMatchObject({
      command: 'restore',
      id: plan.id,
      target: cluster.directory,
      previous: plan.previous,
      undo: `nexus-backup restore ${SOURCE} --rollback --confirm ${SOURCE}`,
    })
    expect(statSync(cluster.directory)).toMatchObject({ uid: cluster.uid, mode: 0o040700 })
    expect(beside()).toEqual([])
    await cluster.start()
    await eventually(cluster, 'SELECT pg_is_in_recovery()', 'f')
    expect(await contentOf(cluster)).toEqual(content)
    expect(await cluster.psql("SELECT pg_walfile_name(pg_current_wal_lsn()) LIKE '00000002%'")).toBe('t')
    // It archives as it did before: it is the live cluster.
    expect(await cluster.psql('SHOW archive_mode')).toBe('on')
    await cluster.stop()
  })

  it('is rolled back to what stood there', async () => {
    const undo = { source: at.source, dryRun: false }
    const plan = await planRollback(at.context, undo)
    expect(plan).toMatchObject({ target: cluster.directory, replaces: true })
    await rollback(at.context, at.journal, undo)
    await cluster.start()
    expect(await cluster.psql('SELECT count(*) FROM t')).toBe('10')
    await cluster.stop()
  })

  it('stops its service only for the swap, and says that the server is down when it does not start again', async () => {
    const systemctl = fakeSystemctl(at.directory, 'start')
    const path = process.env.PATH
    process.env.PATH = systemctl.env.PATH
    onTestFinished(() => {
      process.env.PATH = path
    })
    const source = { ...at.source, service: 'postgresql.service' }
    const restoring = restore(at.context, at.journal, request({ source, target: { kind: 'in-place', source } }))
    await expect(restoring).rejects.toMatchObject({
      code: 'service_failed',
      message: expect.stringContaining('could not start postgresql.service'),
    })
    expect(systemctl.calls()).toEqual(['stop -- postgresql.service', 'start -- postgresql.service'])
    expect(beside()).toEqual([])
    process.env.PATH = path
    await rollback(at.context, at.journal, { source: at.source, dryRun: false })
  })

  it('needs to know where it is, of which kind the source is, and how its server calls us', async () => {
    const nowhere = { ...at.source, dataDirectory: null }
    const unknown = planRestore(at.context, request({ target: { kind: 'in-place', source: nowhere } }))
    await expect(unknown).rejects.toMatchObject({
      kind: 'refused',
      code: 'data_directory_missing',
      hint: expect.stringContaining(`set sources.${SOURCE}.data_directory`),
    })
    const { dataDirectory: _, ...rest } = at.source
    const files = { ...rest, kind: 'files' as const, paths: ['/srv'], exclude: [], include: [] }
    const other = planRestore(at.context, request({ target: { kind: 'in-place', source: files } }))
    await expect(other).rejects.toMatchObject({ kind: 'refused', code: 'kind_differs' })
    const { recovery: __, ...silent } = request()
    await expect(planRestore(at.context, silent)).rejects.toMatchObject({ code: 'recovery_unknown' })
  })
})

describe('a cluster with tablespaces', () => {
  let from: { fast: string; slow: string }
  const map = (fast: string, slow: string) => [
    { from: from.fast, to: fast },
    { from: from.slow, to: slow },
  ]

  beforeAll(async () => {
    await cluster.start()
    from = await makeTablespaces(cluster)
    await at.backUp('full')
    content = await contentOf(cluster)
  })

  it('is never restored in place: those are in use elsewhere', async () => {
    await expect(planRestore(at.context, request())).rejects.toMatchObject({
      kind: 'refused',
      code: 'tablespaces_in_place',
      hint: expect.stringContaining(`--tablespace-map ${from.fast}=NEW`),
    })
  })

  it('is restored only where each is told to go', async () => {
    const planned = (tablespaceMap: { from: string; to: string }[]) =>
      planClusterRestore(at.context, at.request({ target: { kind: 'base' }, tablespaceMap }))
    const [fast, slow] = [join(at.directory, 'fast'), join(at.directory, 'slow')]
    await expect(planned([])).rejects.toMatchObject({
      kind: 'refused',
      code: 'tablespace_unmapped',
      hint: expect.stringContaining(`--tablespace-map '${from.fast}=${from.fast}' --tablespace-map ${from.slow}=`),
    })
    await expect(planned([{ from: '/nowhere', to: fast }])).rejects.toMatchObject({ code: 'tablespace_unknown' })
    await expect(planned(map(fast, fast))).rejects.toMatchObject({ kind: 'usage', code: 'tablespace_twice' })
    await expect(planned(map(from.fast, slow))).rejects.toMatchObject({ kind: 'refused', code: 'target_exists' })
    const { tablespaces } = await planned(map(fast, slow))
    expect(tablespaces.map(({ from: old, to }) => [old, to])).toEqual([
      [from.fast, fast],
      [from.slow, slow],
    ])
  })

  it('comes back row for row with its tablespaces elsewhere', async () => {
    const [fast, slow] = [join(at.directory, 'new fast'), join(at.directory, 'new slow')]
    const wishes = { command: 'restore' as const, target: { kind: 'base' as const }, tablespaceMap: map(fast, slow) }
    const { target } = await at.restore({ ...wishes, start: { stop: true } })
    const links = readdirSync(join(target, 'pg_tblspc')).map(name => readlinkSync(join(target, 'pg_tblspc', name)))
    expect(links.sort()).toEqual([fast, slow])
    for (const path of [fast, slow]) expect(lstatSync(path)).toMatchObject({ uid: cluster.uid, mode: 0o040700 })
    await cluster.stop()
    const copy = await startCluster({ directory: target })
    expect(await contentOf(copy)).toEqual(content)
    await copy.stop()
  })

  it('is drilled with them in scratch space, and nothing stays there', async () => {
    const { repository } = at.source
    const targets = [
      readdirSync(join(at.repository, SOURCE))
        .filter(name => /^\d{8}T/.test(name))
        .sort()
        .at(-1) ?? '',
    ]
    const { results } = await verify(at.context, at.journal, {
      repositories: [repository],
      sources: [],
      targets,
      drill: true,
    })
    const drilled = results.find(({ level }) => level === 'drill')
    expect([drilled?.status, drilled?.drill?.checks.map(({ status }) => status)]).toEqual([
      'ok',
      ['ok', 'ok', 'skipped'],
    ])
    expect(drilled?.drill?.checks.at(-1)?.detail).toBe('data checksums are off in this cluster')
    // Where scratch is closed to the server's user; other drills may be under way there.
    const { systemIdentifier } = readControlFile(cluster.directory) ?? {}
    const left = readdirSync('/var/tmp')
      .filter(name => name.startsWith('nexus-backup-drill-'))
      .filter(name => readControlFile(join('/var/tmp', name, 'data'))?.systemIdentifier === systemIdentifier)
    expect(left).toEqual([])
  })

  it('is taken away whole when one of its places cannot be put there', async () => {
    const to = at.target()
    const [fast, slow] = [join(at.directory, 'first'), join(at.directory, 'second')]
    const context = {
      ...at.context,
      progress: () => {
        if (!existsSync(slow)) writeFileSync(slow, 'in the way')
      },
    }
    const wishes = { to, target: { kind: 'base' as const }, tablespaceMap: map(fast, slow), start: null }
    await expect(restoreCluster(context, at.journal, at.request(wishes))).rejects.toMatchObject({
      kind: 'refused',
      code: 'target_exists',
      message: expect.stringContaining(slow),
    })
    expect([existsSync(to), existsSync(fast), readFileSync(slow, 'utf8')]).toEqual([false, false, 'in the way'])
    expect(readdirSync(at.directory).filter(name => name.startsWith('.'))).toEqual([])
  })
})

/** First line of a file of the data directory. */
function lineOf(name: string): string {
  return readFileSync(join(cluster.directory, name), 'utf8').split('\n')[0] ?? ''
}
