import { beforeEach, describe, expect, it, vi } from 'vitest'
import { interruption } from '../../src/cli/exit-codes.js'
import { NexusError } from '../../src/errors.js'
import type { RestorePlan } from '../../src/operations/requests.js'
import type { BackupReport, CreateResult, ListResult, RestoreResult } from '../../src/operations/results.js'
import { fakeIo, runFake, terminal } from './fake-io.js'

const operations = vi.hoisted(() => ({
  create: vi.fn(),
  list: vi.fn(),
  verify: vi.fn(),
  planRestore: vi.fn(),
  restore: vi.fn(),
  planRollback: vi.fn(),
  rollback: vi.fn(),
  prune: vi.fn(),
  points: vi.fn(),
}))
vi.mock('../../src/operations/create.js', () => ({ create: operations.create }))
vi.mock('../../src/operations/list.js', () => ({ list: operations.list }))
vi.mock('../../src/operations/verify.js', () => ({ verify: operations.verify }))
vi.mock('../../src/operations/restore.js', () => ({ planRestore: operations.planRestore, restore: operations.restore }))
vi.mock('../../src/operations/rollback.js', () => ({
  planRollback: operations.planRollback,
  rollback: operations.rollback,
}))
vi.mock('../../src/operations/prune.js', () => ({ prune: operations.prune }))
vi.mock('../../src/operations/points.js', () => ({ points: operations.points }))

const id = '20251103T030000.000Z-full-7f3a'
const place = ['--sqlite', '/data/itsm.db', '--repo', '/repo']

const backup: BackupReport = {
  id,
  source: 'itsm',
  kind: 'sqlite',
  type: 'full',
  parent: null,
  captured_at: '2025-11-03T03:00:00.000Z',
  bytes_source: 1024,
  bytes_stored: 512,
  blocks_total: 1,
  blocks_stored: 1,
  duration_ms: 20,
  repository: '/repo',
  warnings: [],
  damaged_source: false,
}

const plan: RestorePlan = {
  id,
  source: 'itsm',
  captured_at: backup.captured_at,
  chain: [id],
  target: '/data/itsm.db',
  in_place: true,
  replaces: true,
  previous: '/data/itsm.db.before',
  service: null,
  bytes: 1024,
}

const restored: RestoreResult = {
  command: 'restore',
  id,
  target: '/data/itsm.db',
  captured_at: backup.captured_at,
  previous: '/data/itsm.db.before',
  undo: 'nexus-backup restore itsm --rollback',
  checks: [],
  duration_ms: 5,
}

function created(overrides: Partial<CreateResult> = {}): CreateResult {
  return { command: 'create', backups: [backup], failures: [], ...overrides }
}

function failure(source: string, kind: 'failed' | 'locked' | 'damage' = 'failed') {
  return { source, kind, code: `${kind}_code`, message: 'it broke', hint: 'mend it' }
}

function listed(overrides: Partial<ListResult> = {}): ListResult {
  const entry = { ...backup, status: 'ok' as const, proven: true, label: null, keep_until: null, host: 'h' }
  return { command: 'list', backups: [entry], problems: [], ...overrides }
}

beforeEach(() => {
  vi.resetAllMocks()
  operations.create.mockResolvedValue(created())
  operations.list.mockResolvedValue(listed())
  operations.planRestore.mockResolvedValue(plan)
  operations.planRollback.mockResolvedValue({ ...plan, id: 'previous' })
  operations.restore.mockResolvedValue(restored)
  operations.rollback.mockResolvedValue({ ...restored, id: null })
  operations.prune.mockResolvedValue({
    command: 'prune',
    dry_run: false,
    keep: [],
    delete: [],
    bytes_freed: 0,
    problems: [],
  })
  operations.points.mockResolvedValue({ command: 'pitr points', source: 'itsm', points: [], windows: [] })
})

describe('create', () => {
  it('says nothing in a crontab when all is well', async () => {
    expect(await runFake(['create', ...place])).toEqual({ status: 0, stdout: '', stderr: '' })
  })

  it('tells a terminal what was made, unless it should be quiet', async () => {
    const told = await runFake(['create', ...place], { stdout: terminal, env: { NO_COLOR: '1' } })
    expect(told.stdout).toBe(`itsm: ${id} full, 512 B stored of 1.0 KiB, 20 ms\n`)
    expect((await runFake(['create', ...place, '--quiet'], { stdout: terminal })).stdout).toBe('')
    expect((await runFake(['create', ...place, '--verbose'])).stdout).toContain(id)
  })

  it('prints one JSON document and nothing else', async () => {
    const { status, stdout, stderr } = await runFake(['--json', 'create', ...place])
    expect([status, stderr]).toEqual([0, ''])
    expect(JSON.parse(stdout)).toEqual({ format_version: '1.0', ...created() })
  })

  it('hands over what the options say', async () => {
    const argv =
      '--type diff --check quick --verify --allow-damaged --init --owner bob --adopt --label L --dry-run'.split(' ')
    await runFake(['create', ...place, ...argv, '--keep-until', '2025-12-31', '--wait', '7'])
    expect(operations.create).toHaveBeenCalledWith(
      expect.objectContaining({ host: 'test-host', lockWaitSeconds: 7, operator: { user: 'tester', sudo_user: null } }),
      expect.anything(),
      expect.objectContaining({
        type: 'diff',
        check: 'quick',
        verify: true,
        allowDamaged: true,
        init: true,
        owner: 'bob',
        adopt: true,
        label: 'L',
        keepUntil: expect.stringMatching(/^2025-12-31T|^2026-01-01T/),
        dryRun: true,
      }),
    )
  })

  it.each([
    ['one source that fails', created({ backups: [], failures: [failure('itsm', 'locked')] }), 6, 'locked_code'],
    ['a damaged source', created({ backups: [], failures: [failure('itsm', 'damage')] }), 4, 'damage_code'],
    ['a backup of a damaged source', created({ backups: [{ ...backup, damaged_source: true }] }), 4, 'source_damaged'],
  ])('ends with the status of %s', async (_title, result, status, code) => {
    operations.create.mockResolvedValue(result)
    const run = await runFake(['create', ...place, '--json'])
    expect(run.status).toBe(status)
    expect(JSON.parse(run.stdout).command).toBe('create')
    expect(JSON.parse(run.stderr).error).toMatchObject({ code, exit_code: status })
  })

  it('says what failed and what next, once for one source', async () => {
    operations.create.mockResolvedValue(created({ backups: [], failures: [failure('itsm')] }))
    const { stderr } = await runFake(['create', ...place])
    expect(stderr).toBe('nexus-backup: error: it broke\nhint: mend it\n')
  })

  it('refuses what makes no sense before it touches anything', async () => {
    for (const argv of [['--owner', 'bob'], ['nosuch'], ['--keep-until', 'never']]) {
      const run = await runFake(['create', ...place, ...argv])
      expect([2, 5]).toContain(run.status)
    }
    expect(operations.create).not.toHaveBeenCalled()
  })

  it('names the source that was probably meant', async () => {
    const run = await runFake(['create', 'itms', ...place, '--json'])
    expect(run.status).toBe(5)
    expect(JSON.parse(run.stderr).error).toMatchObject({ code: 'source_not_found', hint: "did you mean 'itsm'?" })
  })
})

describe('what happens beside a run', () => {
  it('is told as a warning also without a terminal', async () => {
    operations.create.mockImplementation(async context => {
      context.warn('the clock was set back')
      return created()
    })
    expect(await runFake(['create', ...place])).toEqual({
      status: 0,
      stdout: '',
      stderr: 'nexus-backup: warning: the clock was set back\n',
    })
    const json = await runFake(['create', ...place, '--json'])
    expect(json.stderr).toBe('')
    expect(JSON.parse(json.stdout).warnings).toEqual(['the clock was set back'])
  })

  it('a journal that cannot be written, ends with 3 though the backup is made', async () => {
    operations.create.mockImplementation(async context => {
      context.journalFailed(new NexusError('failed', 'full', 'no space'))
      return created()
    })
    const run = await runFake(['create', ...place, '--json'])
    expect(run.status).toBe(3)
    expect(JSON.parse(run.stdout).backups).toHaveLength(1)
    expect(JSON.parse(run.stderr).error).toMatchObject({ code: 'journal_not_written', exit_code: 3 })
  })

  it('a signal, gives the status of that signal', async () => {
    const controller = new AbortController()
    operations.create.mockImplementation(async context => {
      controller.abort(interruption('SIGTERM'))
      throw context.signal.reason
    })
    const run = await runFake(['create', ...place, '--json'], { signal: controller.signal })
    expect(run.status).toBe(143)
    expect(JSON.parse(run.stderr).error).toMatchObject({ code: 'interrupted_sigterm', exit_code: 143 })
  })

  it('a defect, shows its stack and ends with 1', async () => {
    operations.create.mockRejectedValue(new TypeError('x is not a function'))
    const run = await runFake(['create', ...place])
    expect(run.status).toBe(1)
    expect(run.stderr).toMatch(/error: x is not a function\n {4}at .*\nhint: this is a defect/s)
  })

  it('a request for progress, prints a line of it', async () => {
    let ask = () => {}
    operations.create.mockImplementation(async context => {
      context.progress({ phase: 'itsm: reading', done: 50, total: 100 })
      ask()
      return created()
    })
    const onProgressRequest = (callback: () => void) => {
      ask = callback
      return () => {}
    }
    const run = await runFake(['create', ...place], { onProgressRequest })
    expect(run.stderr).toBe('nexus-backup: itsm: reading 50 % · 50 B of 100 B\n')
  })
})

describe('list', () => {
  it('prints its table also without a terminal and when quiet', async () => {
    const { stdout } = await runFake(['list', '--repo', '/repo', '--quiet'])
    expect(stdout).toMatch(/^SOURCE {2}ID .*\nitsm {4}20251103T030000\.000Z-full-7f3a .* proven\n$/)
  })

  it('ends with 4 when a backup is damaged, and not for leftovers', async () => {
    const problem = { id, source: 'itsm', repository: '/repo', status: 'damaged' as const, problem: 'no manifest' }
    operations.list.mockResolvedValue(listed({ problems: [problem] }))
    const run = await runFake(['list', '--repo', '/repo'])
    expect(run.status).toBe(4)
    expect(run.stderr).toContain(`itsm/${id} (no manifest)`)
    operations.list.mockResolvedValue(listed({ problems: [{ ...problem, status: 'partial' }] }))
    expect((await runFake(['list', '--repo', '/repo', '--all'])).status).toBe(0)
  })

  it('of a journal that is not there says so', async () => {
    const run = await runFake(['list', '--journal', '--repo', '/repo', '--state', '/nowhere', '--json'])
    expect(JSON.parse(run.stdout)).toEqual({ format_version: '1.0', command: 'list', journal: [], chain: { ok: true } })
  })
})

describe('verify', () => {
  const result = (...statuses: ('ok' | 'damaged' | 'unread')[]) => ({
    command: 'verify',
    results: statuses.map(status => ({ id, source: 'itsm', status, level: 'stored', findings: [], affects: [] })),
  })

  it.each([
    [result('ok'), 0],
    [result('ok', 'unread'), 3],
    [result('ok', 'unread', 'damaged'), 4],
    [result(), 5],
  ])('%j ends with %d', async (found, status) => {
    operations.verify.mockResolvedValue(found)
    const run = await runFake(['verify', '--repo', '/repo', '--json'])
    expect(run.status).toBe(status)
    expect(JSON.parse(run.stdout).results).toEqual(found.results)
    expect(run.stderr === '').toBe(status === 0)
  })

  it('prints its findings without a terminal, and nothing when all is whole', async () => {
    operations.verify.mockResolvedValue({
      command: 'verify',
      results: [
        {
          id,
          source: 'itsm',
          status: 'damaged',
          level: 'stored',
          findings: [{ part: 'blocks.idx', problem: 'cut off' }],
          affects: ['B'],
        },
      ],
    })
    const { stdout } = await runFake(['verify', '--repo', '/repo'])
    expect(stdout).toBe(`itsm: ${id} damaged (stored bytes)\n  blocks.idx: cut off\n  cannot be restored either: B\n`)
    operations.verify.mockResolvedValue(result('ok'))
    expect((await runFake(['verify', '--repo', '/repo'])).stdout).toBe('')
  })
})

describe('restore', () => {
  it('without a place shows both complete commands', async () => {
    const run = await runFake(['restore', 'itsm', ...place])
    expect(run.status).toBe(2)
    expect(run.stderr).toContain('nexus-backup restore itsm --repo /repo --sqlite /data/itsm.db --to PATH\n')
    expect(run.stderr).toContain(
      'nexus-backup restore itsm --repo /repo --sqlite /data/itsm.db --in-place --confirm itsm\n',
    )
  })

  it('in place is refused without confirmation, naming the flag, also with --yes', async () => {
    for (const more of [[], ['--yes']]) {
      const run = await runFake(['restore', 'itsm', ...place, '--in-place', '--json', ...more])
      expect(run.status).toBe(8)
      expect(JSON.parse(run.stderr).error).toMatchObject({ code: 'confirmation_missing', hint: 'add --confirm itsm' })
    }
    const wrong = await runFake(['restore', 'itsm', ...place, '--in-place', '--confirm', 'other'])
    expect(wrong.status).toBe(8)
    expect(operations.restore).not.toHaveBeenCalled()
  })

  it('in place takes its path from the command line, never from the backup', async () => {
    const run = await runFake(['restore', id, ...place, '--in-place', '--confirm', 'itsm'])
    expect(run).toEqual({ status: 0, stdout: '', stderr: '' })
    const request = operations.restore.mock.calls[0]?.[2]
    expect(request).toMatchObject({ backup: id, target: { kind: 'in-place', source: { path: '/data/itsm.db' } } })
  })

  it('in place of a source that is not known is not found', async () => {
    const run = await runFake([
      'restore',
      id,
      '--sqlite',
      '/data/other.db',
      '--repo',
      '/repo',
      '--in-place',
      '--confirm',
      'itsm',
    ])
    expect(run.status).toBe(5)
    expect(operations.restore).not.toHaveBeenCalled()
  })

  it('on a terminal prints the plan first, then where the previous data lies and how to undo it', async () => {
    const run = await runFake(['restore', 'itsm', ...place, '--in-place', '--confirm', 'itsm'], {
      stdout: terminal,
      stderr: terminal,
      env: { NO_COLOR: '1' },
    })
    expect(run.stderr).toContain('replaces what is there, kept as /data/itsm.db.before')
    expect(run.stdout).toContain(
      'what was there before: /data/itsm.db.before\n  to undo this: nexus-backup restore itsm --rollback --repo /repo --sqlite /data/itsm.db\n',
    )
  })

  it('only plans on a dry run, and needs no confirmation for that', async () => {
    const run = await runFake(['restore', 'itsm', ...place, '--in-place', '--dry-run', '--json'])
    expect(run.status).toBe(0)
    expect(JSON.parse(run.stdout)).toMatchObject({ command: 'restore', id, dry_run: true, plan: { chain: [id] } })
    expect(operations.restore).not.toHaveBeenCalled()
  })

  it.each([
    [['restore', 'itsm', '--to', '/x', '--in-place']],
    [['restore', 'itsm', '--in-place', '--rollback']],
    [['restore', 'itsm', '--in-place', '--force']],
    [['restore', '--to', '/x']],
    [['restore']],
  ])('%j is refused as usage', async argv => {
    expect((await runFake([...argv, ...place])).status).toBe(2)
  })

  it('--rollback wants the same confirmation', async () => {
    expect((await runFake(['restore', 'itsm', ...place, '--rollback'])).status).toBe(8)
    expect((await runFake(['restore', 'itsm', ...place, '--rollback', '--confirm', 'itsm'])).status).toBe(0)
    expect(operations.rollback).toHaveBeenCalledOnce()
  })

  it('to a path resolves it where the operator stands', async () => {
    operations.planRestore.mockResolvedValue({ ...plan, in_place: false })
    await runFake(['restore', 'itsm', '--repo', '/repo', '--to', 'out.db', '--force'])
    expect(operations.restore.mock.calls[0]?.[2]).toMatchObject({
      target: { kind: 'path', path: '/work/out.db', force: true },
      source: undefined,
    })
  })
})

describe('prune', () => {
  it('refuses an empty policy', async () => {
    expect((await runFake(['prune', ...place])).status).toBe(8)
    expect((await runFake(['prune', 'itsm', '--repo', '/repo'])).status).toBe(8)
    expect(operations.prune).not.toHaveBeenCalled()
  })

  it('takes its rules from the command line, for a source that only the repository knows', async () => {
    await runFake(['prune', 'itsm', '--repo', '/repo', '--keep-daily', '30', '--keep-within', '2d'])
    expect(operations.prune.mock.calls[0]?.[2]).toEqual({
      sources: [
        { name: 'itsm', repository: { name: 'repo', path: '/repo' }, keep: { daily: 30, within: 172_800_000 } },
      ],
      dryRun: false,
    })
  })

  it('ends with 4 when it saw a damaged backup', async () => {
    const problem = { id, source: 'itsm', repository: '/repo', status: 'damaged', problem: 'no manifest' }
    operations.prune.mockResolvedValue({
      command: 'prune',
      dry_run: false,
      keep: [],
      delete: [],
      bytes_freed: 0,
      problems: [problem],
    })
    expect((await runFake(['prune', ...place, '--keep-last', '1'])).status).toBe(4)
  })
})

describe('pitr', () => {
  it('restore chooses by time, read in the zone', async () => {
    operations.planRestore.mockResolvedValue({ ...plan, in_place: false, captured_at: '2025-11-03T02:00:00.000Z' })
    operations.restore.mockResolvedValue({ ...restored, captured_at: '2025-11-03T02:00:00.000Z' })
    const argv = ['pitr', 'restore', 'itsm', ...place, '--at', '2025-11-03T02:30:00Z', '--to', '/tmp/x']
    const run = await runFake([...argv, '--json'])
    expect(JSON.parse(run.stdout)).toMatchObject({ command: 'pitr restore', requested_at: '2025-11-03T02:30:00.000Z' })
    expect(operations.restore.mock.calls[0]?.[2].at).toEqual(new Date('2025-11-03T02:30:00Z'))
    const spoken = await runFake([...argv, '--verbose'])
    expect(spoken.stderr).toContain('the state of 2025-11-03T02:00:00.000Z lies 30 min 0 s before it')
  })

  it('restore needs both a time and a place', async () => {
    expect((await runFake(['pitr', 'restore', 'itsm', ...place, '--to', '/x'])).status).toBe(2)
    expect((await runFake(['pitr', 'restore', 'itsm', ...place, '--at', 'noon', '--to', '/x'])).status).toBe(2)
  })

  it('points prints its answer always', async () => {
    const at = '2025-11-03T03:00:00.000Z'
    operations.points.mockResolvedValue({ command: 'pitr points', source: 'itsm', points: [{ id, at }], windows: [] })
    expect((await runFake(['pitr', 'points', 'itsm', '--repo', '/repo'])).stdout).toContain(at)
  })
})

describe('errors of the command line itself', () => {
  it('are JSON when JSON is asked for, by flag or by environment', async () => {
    const byFlag = await runFake(['create', '--tpye', 'full', '--json'])
    expect(JSON.parse(byFlag.stderr).error).toMatchObject({ code: 'unknown_option', exit_code: 2 })
    const byEnvironment = await runFake(['cretae'], { env: { NEXUS_BACKUP_JSON: '1' } })
    expect(JSON.parse(byEnvironment.stderr).error.code).toBe('unknown_command')
    expect(byFlag.stdout + byEnvironment.stdout).toBe('')
  })

  it('never throw', async () => {
    const { io } = fakeIo()
    const { runCommandLine } = await import('../../src/cli/run.js')
    for (const argv of [[''], ['--'], ['--repo'], ['\0'], ['list', '--config', '\0']]) {
      expect(await runCommandLine(argv, io)).toBeGreaterThan(0)
    }
  })
})
