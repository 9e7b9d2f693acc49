import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { execa } from 'execa'
import { beforeAll, describe, expect, it } from 'vitest'
import { parseTime } from '../../../src/config/instant.js'
import type { ClusterTarget } from '../../../src/operations/pitr/requests.js'
import { planClusterRestore, restoreCluster } from '../../../src/operations/pitr/restore-cluster.js'
import { points } from '../../../src/operations/points.js'
import { verify } from '../../../src/operations/verify.js'
import { contentOf, fill, SOURCE } from '../../end-to-end/helpers/cluster.js'
import { burst, type Mark, mark } from '../../end-to-end/helpers/recovery.js'
import { startCluster, type TestCluster } from '../../helpers/postgres.js'
import { archiving, type BackedUpCluster, backedUpCluster, removeLog } from '../clusters.js'

const isRoot = process.getuid?.() === 0
let cluster: TestCluster
let at: BackedUpCluster
let alpha: Mark
let beta: Mark
/** Ids of the backups. */
let full: string
let incr: string
/** Transaction that is the last one. */
let xid: string

beforeAll(async () => {
  cluster = await startCluster({ lean: true, initdb: ['--data-checksums'], settings: archiving })
  at = backedUpCluster(cluster, {
    checks: ['SELECT count(*) AS accounts FROM pgbench_accounts', 'SELECT true AS whole'],
  })
  await fill(cluster, 1)
  full = (await at.backUp('full')).id
  await burst(cluster)
  alpha = await mark(cluster, 'alpha')
  incr = (await at.backUp('incr')).id
  await burst(cluster)
  beta = await mark(cluster, 'beta')
  xid = await cluster.psql('SELECT max(xmin::text::bigint) FROM pgbench_history')
  await at.archive()
})

/** What is in a copy whose recovery is over. */
async function contentIn(directory: string): Promise<Record<string, string>> {
  const copy = await startCluster({ directory })
  const content = await contentOf(copy)
  await copy.stop()
  return content
}

/** Files of the archive, sorted: their names alone. */
function walFiles(repository = at.repository): string[] {
  const names = readdirSync(join(repository, SOURCE, 'wal'), { recursive: true, encoding: 'utf8' })
  return names.filter(name => name.endsWith('.zst')).sort()
}

/** A time as it is written on the command line. */
function timeTarget(text: string): ClusterTarget {
  const time = parseTime(text, 'UTC')
  if (typeof time === 'string') throw new Error(`${text}: ${time}`)
  return { kind: 'time', at: time, before: false }
}

/** Nothing half-made lies beside the copies. */
function expectTidy(): void {
  expect(readdirSync(at.directory).filter(name => name.startsWith('.'))).toEqual([])
}

describe('a cluster brought back', () => {
  it('to a time is what it was then, from the newest backup before it', async () => {
    const request = at.request({ target: timeTarget(alpha.at) })
    const plan = await planClusterRestore(at.context, request)
    expect(plan).toMatchObject({
      id: full,
      source: SOURCE,
      chain: [full],
      target: request.to,
      timeline: 1,
      until: `to ${alpha.at}`,
      tablespaces: [],
      notes: [],
    })
    expect(plan.recovery_target).toMatch(/^recovery_target_lsn = '/)
    expect(plan.wal?.segments).toBeGreaterThan(0)
    const archived = walFiles()
    const result = await restoreCluster(at.context, at.journal, request)
    expect(result).toMatchObject({
      command: 'pitr restore',
      id: full,
      target: request.to,
      previous: null,
      undo: null,
      requested_at: alpha.at,
      recovery_target: plan.recovery_target,
      server: null,
      next: null,
      checks: [
        { name: 'SELECT count(*) AS accounts FROM pgbench_accounts', status: 'ok', detail: '[{"accounts":100000}]' },
        { name: 'SELECT true AS whole', status: 'ok' },
      ],
    })
    expect(result.reached).toMatchObject({ timeline: 2, paused: false })
    expect(Date.parse(result.reached?.at ?? '')).toBeLessThanOrEqual(Date.parse(alpha.at))
    expect(await contentIn(result.target)).toEqual(alpha.content)
    // Promoted, it went on, and archived nothing.
    expect(walFiles()).toEqual(archived)
    expect(at.journal.heard.at(-1)).toBe('pitr restore done')
    if (isRoot) expect(statSync(result.target).uid).toBe(cluster.uid)
    expectTidy()
  })

  it.each([
    ['a position', () => ({ kind: 'lsn' as const, lsn: beta.lsn }), /^recovery_target_lsn = '/],
    ['a named point', () => ({ kind: 'restore-point' as const, name: 'beta' }), /^recovery_target_name = 'beta'$/],
    ['a transaction', () => ({ kind: 'xid' as const, xid, before: false }), /^recovery_target_xid = '\d+'$/],
    ['the end of the archive', () => ({ kind: 'end' as const }), null],
  ])('to %s, from the incremental before it', async (_, target, setting) => {
    const plan = await planClusterRestore(at.context, at.request({ target: target() }))
    expect(plan).toMatchObject({ id: incr, chain: [full, incr], timeline: 1 })
    if (setting === null) expect(plan.recovery_target).toBeNull()
    else expect(plan.recovery_target).toMatch(setting)
  })

  it('to a position stands there paused when it is told to, without having left its timeline', async () => {
    const { reached } = await at.restore({ target: { kind: 'lsn', lsn: alpha.lsn }, targetAction: 'pause' })
    expect(reached).toMatchObject({ paused: true, timeline: 1 })
    const position = (lsn = '') => Number.parseInt(lsn.split('/')[1] ?? '', 16)
    expect(position(reached?.lsn)).toBeGreaterThanOrEqual(position(alpha.lsn))
    expect(position(reached?.lsn)).toBeLessThan(position(beta.lsn))
  })

  it('to a position is shut down there when it is told to, checked before, and goes on when that is wanted', async () => {
    const { reached, next, prepared, server, checks, target } = await at.restore({
      target: { kind: 'lsn', lsn: alpha.lsn },
      targetAction: 'shutdown',
      start: { stop: false },
    })
    expect(reached).toMatchObject({ paused: false, timeline: 1 })
    expect(server).toBeNull()
    expect(checks).not.toEqual([])
    const { stdout } = await cluster.run('pg_controldata', [target])
    expect(stdout).toContain('shut down in recovery')
    await execa(next ?? 'false', { shell: true })
    try {
      const asked = [
        '-h',
        prepared?.socket_directory ?? '',
        '-U',
        'postgres',
        '-Atc',
        'SELECT pg_is_in_recovery()',
        'postgres',
      ]
      // It lets nobody in before its recovery is over.
      const answer = () => {
        return cluster.run('psql', asked).then(
          ({ stdout }) => stdout,
          () => 'not yet',
        )
      }
      const deadline = Date.now() + 90_000
      while ((await answer()) !== 'f') {
        if (Date.now() > deadline) throw new Error('it does not go on')
        await new Promise(resolve => setTimeout(resolve, 50))
      }
    } finally {
      await execa(prepared?.stop ?? 'false', { shell: true })
    }
    expect(await contentIn(target)).toEqual(alpha.content)
  })

  it('to the end can be left running, with commands that connect to it and stop it', async () => {
    const { server, target, reached } = await at.restore({ start: { stop: false } })
    expect([server?.port, reached?.timeline]).toEqual([5432, 2])
    try {
      const { stdout } = await execa(`${server?.connect} -Atc 'SELECT pg_is_in_recovery()'`, { shell: true })
      expect(stdout).toBe('f')
    } finally {
      await execa(server?.stop ?? 'false', { shell: true })
    }
    expect(existsSync(server?.socket_directory ?? '/')).toBe(false)
    expect(await contentIn(target)).toEqual(beta.content)
  })

  it('from a backup alone starts without the archive, and says how', async () => {
    const result = await at.restore({ command: 'restore', backup: full, target: { kind: 'base' }, start: null })
    expect(result).toMatchObject({ command: 'restore', id: full, recovery_target: null, reached: null, server: null })
    const as = isRoot ? `runuser -u ${cluster.user} -- ` : ''
    const room = result.prepared?.socket_directory ?? ''
    expect(result.next?.startsWith(`${as}${cluster.bin}/pg_ctl start -w `)).toBe(true)
    expect(result.next).toContain(`-c config_file=${room}/postgresql.conf -c data_directory=${result.target} `)
    rmSync(room, { recursive: true })
    expect(existsSync(join(result.target, 'recovery.signal'))).toBe(false)
    expect(readFileSync(join(result.target, 'postgresql.auto.conf'), 'utf8')).toContain("archive_mode = 'off'")
    await cluster.run('pg_verifybackup', ['-e', result.target])
    expect((await contentIn(result.target))['postgres: pgbench_accounts']).toMatch(/^100000:/)
  })

  it('into an empty directory that is there keeps that, and lays down what recovery needs', async () => {
    const to = at.target()
    mkdirSync(to)
    const { next, prepared } = await at.restore({ to, start: null, keepArchiving: true })
    expect(next).toContain(`-c config_file=${to}/postgresql.conf -c data_directory=${to} `)
    rmSync(prepared?.socket_directory ?? '', { recursive: true })
    const text = (name: string) => readFileSync(join(to, name), 'utf8')
    expect(text('pg_wal/nexus-backup.recovery.conf')).toContain(`pitr fetch --source ${SOURCE} %f %p`)
    expect(text('recovery.signal')).toContain("include_if_exists 'pg_wal/nexus-backup.recovery.conf'")
    expect(text('postgresql.auto.conf')).not.toMatch(/restore_command|recovery_|archive_mode = 'off'/)
    await cluster.run('pg_verifybackup', ['-e', '-n', to])
    expect(statSync(to).mode & 0o777).toBe(0o700)
    expectTidy()
  })
})

describe('the points of a cluster', () => {
  it('are one window from the first backup to the last commit', async () => {
    const { points: single, windows } = await points(at.context, [at.source.repository], SOURCE)
    expect(single).toEqual([])
    expect(windows).toEqual([{ from: expect.any(String), to: expect.any(String), timeline: 1 }])
    const [window] = windows ?? []
    expect(Date.parse(window?.to ?? '')).toBeLessThanOrEqual(Date.parse(beta.at))
    expect(Date.parse(window?.to ?? '')).toBeGreaterThan(Date.parse(alpha.at))
  })
})

describe('a drill of a cluster', () => {
  const request = () => ({
    repositories: [at.source.repository],
    sources: [at.source],
    targets: [incr],
    drill: true,
  })

  it('runs the copy by itself, with content checks, pg_amcheck and page checksums, and measures it', async () => {
    const { results } = await verify(at.context, at.journal, request())
    const drilled = results.find(({ level }) => level === 'drill')
    expect(drilled).toMatchObject({ id: incr, status: 'ok', findings: [], affects: [] })
    expect(drilled?.drill?.checks.map(({ name, status }) => `${name}: ${status}`)).toEqual([
      'recovery: ok',
      'SELECT count(*) AS accounts FROM pgbench_accounts: ok',
      'SELECT true AS whole: ok',
      'pg_amcheck: ok',
      'pg_checksums: ok',
    ])
    const [recovery] = drilled?.drill?.checks ?? []
    expect(recovery?.detail).toMatch(/^ready after \d+ ms at [0-9A-F]+\/[0-9A-F]+, checked in \d+ ms more$/)
    expect(recovery?.detail.split(' ')[2]).toBe(String(drilled?.drill?.restore_ms))
    expect(drilled?.drill?.checks.at(-1)?.detail).toMatch(/^Blocks scanned:\s+\d+$/)
  })

  it('finds what was captured wrong where a content check is false, and not the backup', async () => {
    const checks = ['SELECT count(*) < 0 FROM pgbench_accounts', 'SELECT * FROM nowhere']
    const sources = [{ ...at.source, checks }]
    const { results } = await verify(at.context, at.journal, { ...request(), sources })
    const drilled = results.find(({ level }) => level === 'drill')
    expect(drilled).toMatchObject({ status: 'source-damaged', affects: [] })
    expect(drilled?.findings).toEqual([
      { part: checks[0], problem: expect.stringContaining('false') },
      { part: checks[1], problem: expect.stringContaining('"nowhere" does not exist') },
    ])
    expect(at.journal.heard.at(-1)).toBe('drill damage')
  })
})

describe('a target that cannot be reached', () => {
  const planned = (wishes: Parameters<BackedUpCluster['request']>[0]) =>
    planClusterRestore(at.context, at.request(wishes))

  it.each([
    ['before the first backup', timeTarget('1970-01-01'), 'target_too_early'],
    ['after the last instant', timeTarget('2100-01-01'), 'target_too_late'],
    ['a position after the end', { kind: 'lsn' as const, lsn: 'F/0' }, 'target_too_late'],
    ['a position before the first', { kind: 'lsn' as const, lsn: '0/28' }, 'target_too_early'],
    ['a transaction that never was', { kind: 'xid' as const, xid: '4000000000', before: false }, 'target_not_found'],
    ['a name that nobody gave', { kind: 'restore-point' as const, name: 'nowhere' }, 'target_not_found'],
  ])('is refused: %s', async (_, target, code) => {
    await expect(planned({ target })).rejects.toMatchObject({ kind: 'not-found', code })
  })

  it.runIf(isRoot)('is refused before anything is staged when the server could not fetch', async () => {
    const closed = join(at.directory, 'closed.yaml')
    writeFileSync(closed, readFileSync(at.config), { mode: 0o600 })
    const flags = ['--config', closed]
    const to = at.target()
    for (const dryRun of [true, false]) {
      const request = at.request({ flags, to, dryRun, start: null })
      const run = dryRun ? planClusterRestore(at.context, request) : restoreCluster(at.context, at.journal, request)
      await expect(run).rejects.toMatchObject({ kind: 'refused', code: 'restore_command_fails' })
    }
    expect(existsSync(to)).toBe(false)
    expectTidy()
  })

  it('is refused on a timeline that no backup is of, and for a source without backups', async () => {
    await expect(planned({ timeline: 9 })).rejects.toMatchObject({ kind: 'not-found', code: 'no_base' })
    await expect(planned({ backup: 'other' })).rejects.toMatchObject({ kind: 'not-found' })
    await expect(planned({ target: { kind: 'lsn', lsn: 'nonsense' } })).rejects.toMatchObject({
      kind: 'usage',
      code: 'invalid_lsn',
    })
    const map = [{ from: '/ts/a', to: '/ts/b' }]
    await expect(planned({ tablespaceMap: map })).rejects.toMatchObject({
      kind: 'usage',
      code: 'tablespace_unknown',
      hint: 'the cluster has no tablespaces',
    })
  })

  it('is never put over anything, nor where there is no directory', async () => {
    const to = at.target()
    mkdirSync(to)
    writeFileSync(join(to, 'mine'), 'mine')
    await expect(at.restore({ to })).rejects.toMatchObject({ kind: 'refused', code: 'target_exists' })
    expect(readFileSync(join(to, 'mine'), 'utf8')).toBe('mine')
    await expect(at.restore({ to: join(to, 'mine', 'x') })).rejects.toMatchObject({ code: 'target_directory_missing' })
    await expect(at.restore({ to: join(to, 'no', 'x') })).rejects.toMatchObject({
      kind: 'not-found',
      hint: `make it first: mkdir -p ${join(to, 'no')}`,
    })
  })
})

describe('an archive that is not whole', () => {
  /** The same repository, to be harmed, and the first segment that recovery needs after a backup, or one after it. */
  function harmed(id: string, after = 0): { own: BackedUpCluster; path: string; name: string } {
    const own = backedUpCluster(cluster)
    cpSync(at.repository, own.repository, { recursive: true, preserveTimestamps: true })
    const { facts } = JSON.parse(readFileSync(join(own.repository, SOURCE, id, 'manifest.json'), 'utf8'))
    const needed = walFiles(own.repository).filter(file => {
      const segment = basename(file, '.zst')
      return segment.length === 24 && segment > facts.stop_segment
    })
    const path = needed[after]
    if (path === undefined) throw new Error('nothing is archived after the backup')
    return { own, path: join(own.repository, SOURCE, 'wal', path), name: basename(path, '.zst') }
  }
  const owned = async (path: string) => {
    if (isRoot) await execa('chown', ['-R', cluster.user, path])
  }

  it('names the segment that is missing', async () => {
    const { own, path, name } = harmed(full)
    renameSync(path, join(own.directory, 'taken'))
    const target = timeTarget(alpha.at)
    for (const wish of [target, { kind: 'restore-point' as const, name: 'alpha' }]) {
      await expect(own.restore({ target: wish })).rejects.toMatchObject({
        kind: 'damage',
        code: 'wal_missing',
        message: expect.stringContaining(name),
      })
    }
    const found = await points(own.context, [own.source.repository], SOURCE)
    expect(found.points.map(({ id }) => id)).toEqual([full])
  })

  const toAlpha = () => ({ kind: 'lsn' as const, lsn: alpha.lsn })

  async function flipped(after: number, { planned } = { planned: false }): Promise<ReturnType<typeof harmed>> {
    const { own, path, name } = harmed(full, after)
    // Whole when the restore is planned.
    if (planned) await planClusterRestore(own.context, own.request({ target: toAlpha() }))
    const bytes = readFileSync(path)
    bytes[bytes.length - 100] = (bytes[bytes.length - 100] ?? 0) ^ 1
    writeFileSync(path, bytes)
    await owned(own.repository)
    return { own, path, name }
  }

  it('is damage before anything is staged where the first segment has a flipped byte', async () => {
    const { own, name } = await flipped(0)
    const to = own.target()
    await expect(own.restore({ to, target: { kind: 'lsn', lsn: alpha.lsn } })).rejects.toMatchObject({
      kind: 'damage',
      message: expect.stringContaining(name),
    })
    expect(existsSync(to)).toBe(false)
  })

  it('stops recovery at a flipped byte instead of ending it early, and keeps the copy for whoever looks', async () => {
    const { own, name } = await flipped(1, { planned: true })
    const to = own.target()
    const failed = await own.restore({ to, target: toAlpha() }).then(
      () => undefined,
      error => error,
    )
    expect(failed).toMatchObject({
      kind: 'damage',
      code: 'server_died',
      message: expect.stringContaining('is damaged'),
    })
    expect(failed.message).toContain(name)
    expect(failed.hint).toContain(`the restored files stay in ${to}`)
    removeLog(failed.hint)
    expect(existsSync(join(to, 'recovery.signal'))).toBe(true)
  })

  it.each([
    ['when it is tried', 0, 'trying the restore_command'],
    ['while the copy recovers', 1, 'recovering'],
  ])('is waited for no longer after a signal, and nothing stays: %s', async (_, after, until) => {
    const { own, path } = harmed(full, after)
    const target = toAlpha()
    await planClusterRestore(own.context, own.request({ target }))
    // A fetch that never ends.
    renameSync(path, join(own.directory, 'taken'))
    await execa('mkfifo', [path])
    await owned(own.repository)
    const abort = new AbortController()
    const to = own.target()
    const context = {
      ...own.context,
      signal: abort.signal,
      progress: ({ phase }: { phase: string }) => {
        if (phase.endsWith(until)) abort.abort(new Error('enough'))
      },
    }
    await expect(
      restoreCluster(context, own.journal, own.request({ to, target, start: { stop: false } })),
    ).rejects.toThrow('enough')
    expect(existsSync(to)).toBe(false)
    expect(readdirSync(own.directory).filter(name => name.startsWith('.'))).toEqual([])
  })
})

it('an incremental whose full is gone is damage before anything is written', async () => {
  const own = backedUpCluster(cluster)
  cpSync(at.repository, own.repository, { recursive: true, preserveTimestamps: true })
  rmSync(join(own.repository, SOURCE, full), { recursive: true })
  const to = own.target()
  await expect(own.restore({ to, command: 'restore', backup: incr, target: { kind: 'base' } })).rejects.toMatchObject({
    kind: 'damage',
    code: 'backup_damaged',
  })
  expect(existsSync(to)).toBe(false)
})
