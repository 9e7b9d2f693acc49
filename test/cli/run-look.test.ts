import { beforeEach, describe, expect, it, vi } from 'vitest'
import { runFake } from './fake-io.js'
import { id, listed } from './fixtures.js'

const operations = vi.hoisted(() => ({ list: vi.fn(), verify: vi.fn() }))
vi.mock('../../src/operations/list.js', () => ({ list: operations.list }))
vi.mock('../../src/operations/verify.js', () => ({ verify: operations.verify }))

beforeEach(() => {
  vi.resetAllMocks()
  operations.list.mockResolvedValue(listed())
})

describe('list', () => {
  it('marks a backup in which something is missing that vanished while it was read', async () => {
    const [entry] = listed().backups
    operations.list.mockResolvedValue(listed({ backups: entry === undefined ? [] : [{ ...entry, incomplete: true }] }))
    expect((await runFake(['list', '--repo', '/repo'])).stdout).toMatch(/ {2}proven, incomplete\n$/)
  })

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
