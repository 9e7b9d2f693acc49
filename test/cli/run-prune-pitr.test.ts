import { beforeEach, describe, expect, it, vi } from 'vitest'
import { runFake } from './fake-io.js'
import { id, place, plan, pruned, restored } from './fixtures.js'

const operations = vi.hoisted(() => ({ prune: vi.fn(), points: vi.fn(), planRestore: vi.fn(), restore: vi.fn() }))
vi.mock('../../src/operations/prune.js', () => ({ prune: operations.prune }))
vi.mock('../../src/operations/points.js', () => ({ points: operations.points }))
vi.mock('../../src/operations/restore.js', () => ({ planRestore: operations.planRestore, restore: operations.restore }))

beforeEach(() => {
  vi.resetAllMocks()
  operations.prune.mockResolvedValue(pruned())
  operations.planRestore.mockResolvedValue(plan)
  operations.restore.mockResolvedValue(restored)
})

describe('prune', () => {
  it('hands an empty policy on, for the planner to refuse', async () => {
    const { planRetention } = await import('../../src/policy/retention.js')
    operations.prune.mockImplementation(async (_context, _journal, { sources }) => {
      const nothing = { backups: [], damaged: new Set(), unsound: new Set(), proven: new Set() }
      return planRetention({ ...nothing, policy: sources[0].keep, timezone: 'UTC', now: new Date(0) } as never)
    })
    const run = await runFake(['prune', ...place])
    expect(run.status).toBe(8)
    expect(run.stderr).toContain('--keep-daily 30')
  })

  it('ends with 3 when a source could not be pruned, and with 4 when damage was met as well', async () => {
    const failure = {
      source: 'itsm',
      kind: 'locked',
      code: 'locked',
      message: 'held by create itsm',
      hint: null,
    } as const
    const problem = { id, source: 'other', repository: '/repo', status: 'damaged', problem: 'no manifest' } as const
    operations.prune.mockResolvedValueOnce(pruned({ failures: [failure] }))
    const partly = await runFake(['prune', ...place, '--keep-last', '1'])
    expect(partly.status).toBe(3)
    expect(partly.stderr).toContain('itsm: held by create itsm')
    operations.prune.mockResolvedValueOnce(pruned({ problems: [problem], failures: [failure] }))
    expect((await runFake(['prune', ...place, '--keep-last', '1'])).status).toBe(4)
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
    const problem = { id, source: 'itsm', repository: '/repo', status: 'damaged', problem: 'no manifest' } as const
    operations.prune.mockResolvedValue(pruned({ problems: [problem] }))
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
    // The whole second is meant.
    expect(operations.restore.mock.calls[0]?.[2].at).toEqual(new Date('2025-11-03T02:30:00.999Z'))
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
