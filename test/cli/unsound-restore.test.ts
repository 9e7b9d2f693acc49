import { Readable } from 'node:stream'
import { beforeEach, expect, it, vi } from 'vitest'
import { NexusError } from '../../src/errors.js'
import { runFake, terminal } from './fake-io.js'
import { id, listed, place, plan, restored } from './fixtures.js'

const operations = vi.hoisted(() => ({ list: vi.fn(), planRestore: vi.fn(), restore: vi.fn(), askForText: vi.fn() }))
vi.mock('../../src/operations/list.js', () => operations)
vi.mock('../../src/operations/restore.js', () => operations)
vi.mock('../../src/cli/prompt.js', () => operations)

const failed = { ...restored, checks: [{ name: 'integrity_check', status: 'failed', detail: 'NULL value in t.a' }] }
const words = ['restore', id, ...place, '--in-place', '--confirm', 'itsm']
const onTerminal = {
  stdin: Object.assign(Readable.from([]), { isTTY: true }),
  stdout: terminal,
  stderr: terminal,
  env: { NO_COLOR: '1' },
}

beforeEach(() => {
  vi.resetAllMocks()
  operations.list.mockResolvedValue(listed())
  operations.planRestore.mockResolvedValue({ ...plan, in_place: true })
  operations.restore.mockImplementation((_context, _journal, { allowDamaged }) => {
    if (allowDamaged === true) return Promise.resolve(failed)
    throw new NexusError('refused', 'restored_damaged', 'it fails integrity_check: NULL value in t.a', { hint: 'x' })
  })
})

it('is refused without a terminal, and done with --allow-damaged, which ends with 4', async () => {
  expect((await runFake(words)).status).toBe(8)
  const run = await runFake([...words, '--allow-damaged', '--json'])
  expect([run.status, JSON.parse(run.stderr).error.code]).toEqual([4, 'restored_as_damaged'])
})

it('is asked about on a terminal, with what was found, and goes on after the name of the source', async () => {
  operations.askForText.mockResolvedValueOnce('itsm')
  expect((await runFake(words, onTerminal)).status).toBe(4)
  expect(operations.askForText.mock.calls[0]?.[1]).toContain('NULL value in t.a')
  operations.askForText.mockResolvedValueOnce('no')
  expect((await runFake(words, onTerminal)).status).toBe(8)
})

it('goes with --in-place only', async () => {
  const run = await runFake(['restore', id, ...place, '--to', '/tmp/x', '--allow-damaged', '--json'])
  expect([run.status, JSON.parse(run.stderr).error.message]).toEqual([2, '--allow-damaged goes with --in-place'])
})
