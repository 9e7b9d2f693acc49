import { beforeEach, describe, expect, it, vi } from 'vitest'
import { runFake, terminal } from './fake-io.js'
import { id, listed, place, plan, restored } from './fixtures.js'

const operations = vi.hoisted(() => ({
  list: vi.fn(),
  planRestore: vi.fn(),
  restore: vi.fn(),
  planRollback: vi.fn(),
  rollback: vi.fn(),
}))
vi.mock('../../src/operations/list.js', () => ({ list: operations.list }))
vi.mock('../../src/operations/restore.js', () => ({ planRestore: operations.planRestore, restore: operations.restore }))
vi.mock('../../src/operations/rollback.js', () => ({
  planRollback: operations.planRollback,
  rollback: operations.rollback,
}))

beforeEach(() => {
  vi.resetAllMocks()
  operations.list.mockResolvedValue(listed())
  operations.planRestore.mockResolvedValue(plan)
  operations.restore.mockResolvedValue(restored)
  operations.planRollback.mockResolvedValue({ ...plan, id: 'previous' })
  operations.rollback.mockResolvedValue({ ...restored, id: null })
})

describe('restore', () => {
  it('without a place shows both complete commands', async () => {
    const run = await runFake(['restore', 'itsm', ...place])
    expect(run.status).toBe(2)
    expect(run.stderr).toContain('nexus-backup --repo /repo --sqlite /data/itsm.db restore itsm --to PATH\n')
    expect(run.stderr).toContain(
      'nexus-backup --repo /repo --sqlite /data/itsm.db restore itsm --in-place --confirm itsm\n',
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

  it.each<[string[], string, RegExp]>([
    [['--include', '*.pdf'], 'options_exclude', /restore itsm --include '\*\.pdf' --to DIR/],
    [['--include', 'a', '--in-place'], 'options_exclude', /--include a --to DIR/],
    [['--exclude', 'a', '--rollback', '--to', '/x'], 'options_exclude', /--exclude a --to DIR/],
    [['--include', 'a', '--to', '/x'], 'option_of_files', /restore itsm --to PATH/],
    [['--include', 'a', '--to', '-'], 'option_of_files', /restore itsm --to -/],
    [['--overwrite', 'never', '--to', '/x'], 'options_exclude', /--merge/],
    [['--merge', '--in-place'], 'options_exclude', /--merge --to \//],
    [['--merge', '--to', '/x', '--force'], 'options_exclude', /--merge --to \//],
    [['--merge', '--to', '-'], 'options_exclude', /--merge --to \//],
    [['--merge', '--to', '/x'], 'option_of_files', /restore itsm --to PATH/],
    [['--to', '-', '--force'], 'options_exclude', /--to PATH/],
    [['--to', '-'], 'options_exclude', /leave --json out/],
  ])('%j is a mistake in the command line, and the next command is named', async (flags, code, hint) => {
    const run = await runFake(['restore', 'itsm', ...place, ...flags, '--json'])
    expect(run.status).toBe(2)
    expect(JSON.parse(run.stderr).error).toMatchObject({ code, hint: expect.stringMatching(hint) })
    expect(operations.restore).not.toHaveBeenCalled()
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
      'what was there before: /data/itsm.db.before\n  to undo this: nexus-backup --repo /repo --sqlite /data/itsm.db restore itsm --rollback\n',
    )
  })

  it('ends with 4 when what came back is damaged as it was, and names the way to salvage it', async () => {
    operations.restore.mockResolvedValue({
      ...restored,
      checks: [{ name: 'integrity_check', status: 'failed', detail: 'row 3 missing' }],
    })
    const run = await runFake(['restore', 'itsm', ...place, '--in-place', '--confirm', 'itsm', '--json'])
    expect(run.status).toBe(4)
    expect(JSON.parse(run.stdout)).toMatchObject({ command: 'restore' })
    expect(JSON.parse(run.stderr).error.hint).toContain('.recover')
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
      target: { kind: 'path', path: '/desk/out.db', force: true },
      source: undefined,
    })
  })
})
