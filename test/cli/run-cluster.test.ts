import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import type { ClusterRestorePlan, RestoreClusterResult } from '../../src/operations/pitr/requests.js'
import { restoreCommandOf } from '../../src/operations/wal/restore-command.js'
import { temporaryDirectory } from '../helpers/temporary.js'
import { runFake } from './fake-io.js'
import { backup, plan as filePlan, restored as fileRestored, id, listed } from './fixtures.js'

const operations = vi.hoisted(() => ({
  list: vi.fn(),
  planClusterRestore: vi.fn(),
  restoreCluster: vi.fn(),
  planRestore: vi.fn(),
  restore: vi.fn(),
  prune: vi.fn(),
  points: vi.fn(),
}))
vi.mock('../../src/operations/list.js', () => ({ list: operations.list }))
vi.mock('../../src/operations/pitr/restore-cluster.js', () => ({
  planClusterRestore: operations.planClusterRestore,
  restoreCluster: operations.restoreCluster,
}))
vi.mock('../../src/operations/restore.js', () => ({ planRestore: operations.planRestore, restore: operations.restore }))
vi.mock('../../src/operations/prune.js', () => ({ prune: operations.prune }))
vi.mock('../../src/operations/points.js', () => ({ points: operations.points }))

const plan: ClusterRestorePlan = {
  id,
  source: 'pg',
  captured_at: '2025-11-03T03:00:00.000Z',
  chain: [id],
  target: '/srv/copy',
  bytes: 1024,
  system_identifier: '7',
  until: 'to 2025-11-03T05:30:00.000Z',
  timeline: 1,
  wal: { from: '000000010000000000000003', to: '000000010000000000000009', segments: 7 },
  notes: ['no transaction ended in between'],
  tablespaces: [{ oid: 16390, from: '/ts/a', to: '/ts/b' }],
  waldir: null,
  recovery_target: "recovery_target_lsn = '0/3000148'",
  last_commit: { xid: '751', lsn: '0/3000148', at: '2025-11-03T05:29:59.123456Z' },
  next_commit: { xid: '752', lsn: '0/3000190', at: '2025-11-03T05:30:00.000001Z' },
}

const done: RestoreClusterResult = {
  command: 'pitr restore',
  id,
  target: '/srv/copy',
  captured_at: plan.captured_at,
  previous: null,
  undo: null,
  checks: [],
  duration_ms: 5,
  requested_at: null,
  system_identifier: '7',
  recovery_target: null,
  last_commit: null,
  next_commit: null,
  timeline: 2,
  notes: [],
  reached: null,
  server: null,
  next: 'pg_ctl start -w -D /srv/copy',
  prepared: {
    socket_directory: '/tmp/nexus-backup-1',
    port: 5432,
    log: '/tmp/nexus-backup-1/server.log',
    stop: 'pg_ctl stop -w -D /srv/copy',
  },
}

const text = `timezone: UTC
repositories: { r: { path: /repo } }
sources:
  pg: { kind: postgres, connection: host=/run }
  itsm: { kind: sqlite, path: /data/itsm.db }
  up: { kind: files, paths: [/data/up] }
`

let config: string[] = []

beforeEach(() => {
  vi.resetAllMocks()
  const file = join(temporaryDirectory(), 'config.yaml')
  writeFileSync(file, text, { mode: 0o600 })
  config = ['--config', file]
  operations.list.mockResolvedValue(listed())
  operations.planClusterRestore.mockResolvedValue(plan)
  operations.restoreCluster.mockResolvedValue(done)
  operations.planRestore.mockResolvedValue({ ...filePlan, in_place: false })
  operations.restore.mockResolvedValue(fileRestored)
})

function pitrRestore(...argv: string[]) {
  return runFake(['pitr', 'restore', ...argv, ...config])
}

describe('pitr restore of a cluster', () => {
  it('hands over what the options say, with how the server calls this program', async () => {
    const maps = ['--tablespace-map', '/ts/a=/ts/b', '--tablespace-map', '/ts/c=/ts/d']
    const more = ['--timeline', '3', ...maps, '--target-action', 'pause', '--keep-archiving', '--start', '--stop']
    await pitrRestore('pg', '--at', '2025-11-03T05:30:00Z', '--to', 'copy', ...more, '--repo', '/other')
    expect(operations.restoreCluster.mock.calls[0]?.[2]).toEqual({
      command: 'pitr restore',
      repositories: [{ name: 'repo', path: '/other' }],
      backup: 'pg',
      target: { kind: 'time', at: { first: 1_762_147_800_000_000n, last: 1_762_147_800_999_999n }, before: false },
      timeline: 3,
      allowDamaged: false,
      to: '/desk/copy',
      tablespaceMap: [
        { from: '/ts/a', to: '/ts/b' },
        { from: '/ts/c', to: '/ts/d' },
      ],
      targetAction: 'pause',
      keepArchiving: true,
      start: { stop: true },
      source: expect.objectContaining({ kind: 'postgres', name: 'pg' }),
      program: ['/usr/bin/node', '/opt/nexus-backup/bin/nexus-backup'],
      flags: [...config, '--repo', '/other'],
      untrusted: false,
      waldir: undefined,
      dryRun: false,
    })
  })

  it.each([
    [['--lsn', '0/2000abc'], { kind: 'lsn', lsn: '0/2000ABC' }],
    [['--xid', '48213'], { kind: 'xid', xid: '48213', before: false }],
    [['--xid', '48213', '--before'], { kind: 'xid', xid: '48213', before: true }],
    [['--restore-point', 'before 4.2'], { kind: 'restore-point', name: 'before 4.2' }],
    [['--end'], { kind: 'end' }],
  ])('takes %j, and has defaults for the rest', async (argv, target) => {
    expect((await pitrRestore('pg', ...argv, '--to', '/srv/copy')).status).toBe(0)
    expect(operations.restoreCluster.mock.calls[0]?.[2]).toMatchObject({
      target,
      timeline: 'latest',
      tablespaceMap: [],
      targetAction: 'promote',
      keepArchiving: false,
      start: null,
    })
  })

  it('asks for what a damaged cluster left, and for a stop at the target, by name', async () => {
    const more = ['--allow-damaged', '--target-action', 'shutdown']
    await pitrRestore('pg', '--lsn', '0/2000028', '--to', '/srv/copy', ...more)
    expect(operations.restoreCluster.mock.calls[0]?.[2]).toMatchObject({ allowDamaged: true, targetAction: 'shutdown' })
  })

  it.each([
    [['pg', '--to', '/x'], 'give exactly one of --at, --lsn, --xid, --restore-point and --end'],
    [['pg', '--to', '/x', '--end', '--lsn', '0/1'], '--lsn and --end exclude each other'],
    [['pg', '--end'], 'pitr restore needs --to PATH'],
    [['pg', '--end', '--to', '/x', '--stop'], '--stop goes with --start'],
    [['pg', '--end', '--to', '/x', '--target-action', 'pause'], 'has no target to pause at'],
    [['pg', '--end', '--to', '/x', '--target-action', 'shutdown'], 'has no target to shut down at'],
    [['pg', '--lsn', '2000028', '--to', '/x'], 'such as 0/2000028'],
    [['pg', '--end', '--before', '--to', '/x'], '--before goes with --at or --xid, not with --end'],
    [['pg', '--xid', '0x12', '--to', '/x'], 'without the epoch'],
    [['pg', '--xid', '4294967296', '--to', '/x'], 'without the epoch'],
    [['pg', '--end', '--to', '/x', '--timeline', '0'], 'latest, current or the number of a timeline'],
    [['pg', '--end', '--to', '/x', '--tablespace-map', 'a=b'], 'two absolute directories'],
    [['pg', '--at', 'noon', '--to', '/x'], 'is not a time'],
    [['itsm', '--end', '--to', '/x'], '--end is for clusters, and itsm is a source of kind sqlite'],
    [
      ['up', '--at', '2025-11-03', '--to', '/x', '--start'],
      '--start is for clusters, and up is a source of kind files',
    ],
    [['itsm', '--at', '2025-11-03', '--to', '/x', '--timeline', 'latest'], '--timeline is for clusters'],
  ])('refuses %j as usage', async (argv, words) => {
    const run = await pitrRestore(...argv)
    expect([run.status, run.stderr]).toEqual([2, expect.stringContaining(words)])
    expect(operations.restoreCluster).not.toHaveBeenCalled()
    expect(operations.restore).not.toHaveBeenCalled()
  })

  it('only plans on a dry run, and says what the operator should know', async () => {
    const run = await pitrRestore('pg', '--end', '--to', '/srv/copy', '--dry-run')
    expect([run.status, run.stdout]).toEqual([
      0,
      `pg: restore ${id}, captured at 2025-11-03 03:00:00 UTC, 1.0 KiB
  from 1 backup: ${id}
  to /srv/copy
  tablespace 16390: /ts/a to /ts/b
  to be recovered to 2025-11-03T05:30:00.000Z
  the last commit: transaction 751 of 2025-11-03 05:29:59.123456 UTC (2025-11-03T05:29:59.123456Z) at 0/3000148
  the next one, left out: transaction 752 of 2025-11-03 05:30:00.000001 UTC (2025-11-03T05:30:00.000001Z) at 0/3000190
  log: timeline 1, 7 segments, 000000010000000000000003 to 000000010000000000000009
`,
    ])
    expect(run.stderr).toContain('pg: no transaction ended in between')
    const json = await pitrRestore('pg', '--end', '--to', '/srv/copy', '--dry-run', '--json')
    expect(JSON.parse(json.stdout)).toMatchObject({ command: 'pitr restore', id, dry_run: true, plan: { timeline: 1 } })
    expect(operations.restoreCluster).not.toHaveBeenCalled()
  })

  it('tells how far the server came, and how to connect and to stop it, also without a terminal', async () => {
    const server = {
      socket_directory: '/tmp/s',
      port: 5432,
      log: '/tmp/s/log',
      connect: 'psql -h /tmp/s',
      stop: 'pg_ctl stop',
    }
    const reached = { at: '2025-11-03T05:29:59.123Z', lsn: '0/9000148', timeline: 2, paused: true }
    operations.restoreCluster.mockResolvedValue({ ...done, server, reached, next: null })
    const run = await pitrRestore('pg', '--end', '--to', '/srv/copy', '--start')
    expect(run.stdout).toContain(
      `  the last transaction is of 2025-11-03 05:29:59.123 UTC (2025-11-03T05:29:59.123Z); position 0/9000148, timeline 2, paused and open for reading
  the server runs, its log is /tmp/s/log
  to connect: psql -h /tmp/s
  to stop it: pg_ctl stop
`,
    )
  })

  it('says what to do next when no server was started', async () => {
    expect((await pitrRestore('pg', '--end', '--to', '/srv/copy')).stdout).toBe('')
    const run = await pitrRestore('pg', '--end', '--to', '/srv/copy', '--verbose')
    expect(run.stdout).toContain('next: pg_ctl start -w -D /srv/copy\n')
  })

  it('ends with 4 when the copy comes from a backup of a damaged cluster, and says what was damaged', async () => {
    const damage = 'page_checksums: block 3: table public.incidents'
    operations.restoreCluster.mockResolvedValue({ ...done, damage })
    const run = await pitrRestore('pg', '--end', '--to', '/srv/copy', '--allow-damaged')
    expect(run.status).toBe(4)
    expect(run.stderr).toContain('table public.incidents')
  })

  it('ends with 4 when a content check fails on what was restored', async () => {
    const checks = [{ name: 'SELECT false', status: 'failed', detail: 'false' }]
    operations.restoreCluster.mockResolvedValue({ ...done, checks })
    const run = await pitrRestore('pg', '--end', '--to', '/srv/copy', '--start', '--stop', '--json')
    expect(run.status).toBe(4)
    expect(JSON.parse(run.stdout)).toMatchObject({ command: 'pitr restore', checks })
    expect(JSON.parse(run.stderr).error).toMatchObject({ code: 'restored_check_failed', exit_code: 4 })
  })

  it('knows a cluster that only the repository knows', async () => {
    operations.list.mockResolvedValue(listed({ backups: [{ ...listedOf('pg'), kind: 'postgres' }] }))
    const run = await runFake(['pitr', 'restore', 'pg', '--repo', '/repo', '--end', '--to', '/srv/copy'])
    expect(run.status).toBe(0)
    expect(operations.restoreCluster.mock.calls[0]?.[2]).toMatchObject({
      source: undefined,
      flags: ['--repo', '/repo'],
    })
  })

  it('hands the key of its own command line to the server', async () => {
    operations.list.mockResolvedValue(listed({ backups: [{ ...listedOf('pg'), kind: 'postgres' }] }))
    const place = ['--repo', '/repo', '--key-file', 'key']
    const env = { NEXUS_BACKUP_PASSPHRASE_FILE: '/secret' }
    await runFake([...place, 'pitr', 'restore', 'pg', '--end', '--to', '/srv/copy'], { env })
    const request = operations.restoreCluster.mock.calls[0]?.[2]
    expect(restoreCommandOf({ program: request.program, flags: request.flags }, 'pg')).toContain(
      ' --repo /repo --key-file /desk/key --passphrase-file /secret pitr fetch --source pg %f %p;',
    )
  })
})

describe('restore of a cluster', () => {
  it('lays down the backup as it was at its own end', async () => {
    operations.list.mockResolvedValue(listed({ backups: [{ ...listedOf('pg'), kind: 'postgres' }] }))
    const argv = ['restore', id.slice(0, 15), '--to', 'copy', '--tablespace-map', '/ts/a=/ts/b']
    expect((await runFake([...argv, ...config])).status).toBe(0)
    expect(operations.restoreCluster.mock.calls[0]?.[2]).toMatchObject({
      command: 'restore',
      backup: id.slice(0, 15),
      target: { kind: 'base' },
      to: '/desk/copy',
      tablespaceMap: [{ from: '/ts/a', to: '/ts/b' }],
      source: { name: 'pg' },
    })
  })

  it('is never forced over anything', async () => {
    const run = await runFake(['restore', 'pg', '--to', '/srv/copy', '--force', ...config])
    expect([run.status, run.stderr]).toEqual([2, expect.stringContaining('--force is not for clusters')])
  })

  it('in place has nowhere to map tablespaces to', async () => {
    const argv = ['restore', 'pg', '--in-place', '--confirm', 'pg', '--tablespace-map', '/a=/b', ...config]
    writeFileSync(config[1] ?? '', text.replace('host=/run', 'host=/run, data_directory: /data'))
    expect(await runFake(argv)).toMatchObject({ status: 2, stderr: expect.stringContaining('goes with --to PATH') })
  })

  it('in place is handed on with how the server calls this program', async () => {
    writeFileSync(config[1] ?? '', text.replace('host=/run', 'host=/run, data_directory: /data'))
    operations.planRestore.mockResolvedValue({ ...filePlan, source: 'pg' })
    expect((await runFake(['restore', 'pg', '--in-place', '--confirm', 'pg', ...config])).status).toBe(0)
    expect(operations.restore.mock.calls[0]?.[2]).toMatchObject({
      target: { kind: 'in-place', source: { dataDirectory: '/data' } },
      recovery: { program: ['/usr/bin/node', '/opt/nexus-backup/bin/nexus-backup'], flags: config },
    })
  })

  it('in place needs a data_directory, and names the key', async () => {
    const run = await runFake(['restore', 'pg', '--in-place', '--confirm', 'pg', ...config])
    expect([run.status, run.stderr]).toEqual([
      8,
      expect.stringContaining(`set sources.pg.data_directory in ${config[1]}`),
    ])
    expect(operations.restore).not.toHaveBeenCalled()
  })
})

describe('restore of files', () => {
  it('to a directory and in place is handed on', async () => {
    expect((await runFake(['restore', 'up', '--to', '/srv/up', ...config])).status).toBe(0)
    expect((await runFake(['restore', 'up', '--in-place', '--confirm', 'itsm', ...config])).status).toBe(0)
    expect(operations.restore.mock.calls.map(call => call[2].target.kind)).toEqual(['path', 'in-place'])
  })

  it('has no tablespaces', async () => {
    const argv = ['restore', 'up', '--to', '/srv/up', '--tablespace-map', '/a=/b', ...config]
    expect(await runFake(argv)).toMatchObject({ status: 2, stderr: expect.stringContaining('up is none') })
  })
})

describe('prune of a cluster', () => {
  const nothing = {
    command: 'prune',
    dry_run: true,
    keep: [],
    delete: [],
    bytes_freed: 0,
    problems: [],
    untrusted: [],
    failures: [],
  }

  it('takes --keep-pitr for clusters only', async () => {
    operations.prune.mockResolvedValue({ ...nothing, wal: [] })
    expect((await runFake(['prune', 'pg', '--keep-pitr', '14d', ...config])).status).toBe(0)
    expect(operations.prune.mock.calls[0]?.[2].sources).toEqual([
      expect.objectContaining({ name: 'pg', keep: { pitr: 14 * 86_400_000 } }),
    ])
    const run = await runFake(['prune', '--keep-pitr', '14d', ...config])
    expect([run.status, run.stderr]).toEqual([2, expect.stringContaining('itsm is a source of kind sqlite')])
  })

  it('says what becomes of the log, and why', async () => {
    const wal = [
      {
        source: 'pg',
        system_identifier: '7',
        keep_from: '000000010000000000000009',
        delete: { segments: 2, bytes: 2048, from: '000000010000000000000007', to: '000000010000000000000008' },
        reasons: ['pitr: the window begins with it'],
      },
    ]
    operations.prune.mockResolvedValue({ ...nothing, wal, bytes_to_free: 2048 })
    const run = await runFake(['prune', 'pg', '--keep-pitr', '14d', '--dry-run', ...config])
    expect(run.stdout).toBe(`keep  pg/wal/7 from 000000010000000000000009: pitr: the window begins with it
would delete  pg/wal/7: 2 segments (2.0 KiB), 000000010000000000000007 to 000000010000000000000008
would remove 0 backups and 2 segments of the log (2.0 KiB), kept 0
`)
  })
})

describe('pitr points of a cluster', () => {
  it('shows its windows in the zone and in UTC', async () => {
    const window = { from: '2025-11-03T03:00:00.000Z', to: '2025-11-03T05:29:59.123Z', timeline: 1 }
    operations.points.mockResolvedValue({ command: 'pitr points', source: 'pg', points: [], windows: [window] })
    const run = await runFake(['pitr', 'points', 'pg', ...config])
    const [heading, line] = run.stdout.split('\n')
    expect(heading).toMatch(/^EVERY INSTANT FROM +TO +LENGTH +UTC FROM +UTC TO +TIMELINE$/)
    expect(line?.split(/ {2,}/)).toEqual([
      '2025-11-03 03:00:00 UTC',
      '2025-11-03 05:29:59.123 UTC',
      '2 h 30 min',
      '2025-11-03T03:00:00.000Z',
      '2025-11-03T05:29:59.123Z',
      '1',
    ])
  })
})

function listedOf(source: string) {
  return { ...backup, source, status: 'ok' as const, proven: true, label: null, keep_until: null, host: 'h' }
}
