import { beforeEach, describe, expect, it, vi } from 'vitest'
import { interruption } from '../../src/cli/exit-codes.js'
import { NexusError } from '../../src/errors.js'
import { runFake, terminal } from './fake-io.js'
import { backup, created, failure, id, place } from './fixtures.js'

const operations = vi.hoisted(() => ({ create: vi.fn() }))
vi.mock('../../src/operations/create.js', () => ({ create: operations.create }))

beforeEach(() => {
  vi.resetAllMocks()
  operations.create.mockResolvedValue(created())
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
      '--type diff --check quick --verify --allow-damaged --allow-emptied --init --owner bob --adopt --label L --dry-run'.split(
        ' ',
      )
    await runFake(['create', ...place, ...argv, '--keep-until', '2025-12-31', '--wait', '7', '--take-over'])
    expect(operations.create).toHaveBeenCalledWith(
      expect.objectContaining({
        host: 'test-host',
        lockWaitSeconds: 7,
        takeOver: true,
        operator: { user: 'tester', sudo_user: null },
      }),
      expect.anything(),
      expect.objectContaining({
        type: 'diff',
        check: 'quick',
        verify: true,
        allowDamaged: true,
        allowEmptied: true,
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
    [
      'files that changed while they were read',
      created({ backups: [{ ...backup, incomplete: true }] }),
      3,
      'source_changed',
    ],
    [
      'a damaged source that also changed',
      created({ backups: [{ ...backup, incomplete: true, damaged_source: true }] }),
      4,
      'source_damaged',
    ],
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
