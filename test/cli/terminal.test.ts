import { clearLine, cursorTo, moveCursor } from 'node:readline'
import { PassThrough } from 'node:stream'
import { describe, expect, it, vi } from 'vitest'
import type { CommandIo } from '../../src/cli/io.js'
import { createProgress } from '../../src/cli/progress.js'
import { runCommandLine } from '../../src/cli/run.js'
import { fakeIo } from './fake-io.js'

const operations = vi.hoisted(() => ({ list: vi.fn(), planRestore: vi.fn(), restore: vi.fn() }))
vi.mock('../../src/operations/list.js', () => ({ list: operations.list }))
vi.mock('../../src/operations/restore.js', () => ({ planRestore: operations.planRestore, restore: operations.restore }))

const id = '20251103T030000.000Z-full-7f3a'

/** A stream that behaves like the stderr of a process on a terminal: nobody can end it. */
function terminalStream() {
  const stream = new PassThrough()
  return Object.assign(stream, {
    isTTY: true,
    columns: 100,
    end: () => stream,
    cursorTo: (x: number) => cursorTo(stream, x),
    clearLine: (direction: -1 | 0 | 1) => clearLine(stream, direction),
    moveCursor: (dx: number, dy: number) => moveCursor(stream, dx, dy),
  })
}

/** A terminal whose operator answers each question when it appears: a piece of the question, then the keys. */
function terminalWith(answers: readonly (readonly [string, string])[]): { io: CommandIo; shown(): string } {
  const stdin = Object.assign(new PassThrough(), { isTTY: true })
  const stderr = terminalStream()
  const open = [...answers]
  let shown = ''
  let unseen = ''
  stderr.on('data', chunk => {
    shown += chunk
    unseen += chunk
    const [next] = open
    if (next === undefined || !unseen.includes(next[0])) return
    open.shift()
    unseen = ''
    setImmediate(() => stdin.write(next[1]))
  })
  const { io } = fakeIo()
  return { io: { ...io, stdin, stderr, env: { NO_COLOR: '1' } }, shown: () => shown }
}

function prepare(): void {
  vi.resetAllMocks()
  const backup = {
    id,
    source: 'itsm',
    kind: 'sqlite',
    captured_at: '2025-11-03T03:00:00.000Z',
    type: 'full',
    bytes_source: 1,
    label: null,
  }
  operations.list.mockResolvedValue({ command: 'list', backups: [backup], problems: [] })
  operations.planRestore.mockImplementation(async (_context, { target }) => ({
    id,
    source: 'itsm',
    captured_at: backup.captured_at,
    chain: [id],
    target: target.path ?? target.source.path,
    in_place: target.kind === 'in-place',
    replaces: false,
    previous: null,
    service: null,
    bytes: 1,
  }))
  operations.restore.mockResolvedValue({
    id,
    target: '/x',
    captured_at: null,
    previous: null,
    undo: null,
    checks: [],
    duration_ms: 1,
  })
}

const place = ['--sqlite', '/data/itsm.db', '--repo', '/repo']

describe('restore on a terminal', { timeout: 20_000 }, () => {
  it('asks what and where to when it is given nothing', async () => {
    prepare()
    const { io } = terminalWith([
      ['Which backup of itsm?', '\r'],
      ['Where to?', '\r'],
      ['Path of the restored file:', 'out.db\r'],
      [`Restore ${id} to /desk/out.db?`, 'y\r'],
    ])
    expect(await runCommandLine(['restore', ...place], io)).toBe(0)
    expect(operations.restore.mock.calls[0]?.[2]).toMatchObject({
      backup: id,
      target: { kind: 'path', path: '/desk/out.db', force: false },
    })
  })

  it('does nothing without agreement', async () => {
    prepare()
    const { io, shown } = terminalWith([
      ['Which backup of itsm?', '\r'],
      ['Where to?', '\r'],
      ['Path of the restored file:', 'out.db\r'],
      [`Restore ${id} to`, '\r'],
    ])
    expect(await runCommandLine(['restore', ...place], io)).toBe(8)
    expect(shown()).toContain('not agreed; nothing was done')
    expect(operations.restore).not.toHaveBeenCalled()
  })

  it.each([
    ['itsm', 0],
    ['other', 8],
  ])('in place wants the name typed, also with --yes: %s ends with %d', async (typed, status) => {
    prepare()
    const { io } = terminalWith([['Type its name', `${typed}\r`]])
    expect(await runCommandLine(['restore', 'itsm', '--in-place', '--yes', ...place], io)).toBe(status)
    expect(operations.restore).toHaveBeenCalledTimes(status === 0 ? 1 : 0)
  })

  it('is given up with Ctrl-C', async () => {
    prepare()
    const { io } = terminalWith([['Type its name', '\u0003']])
    expect(await runCommandLine(['restore', 'itsm', '--in-place', ...place], io)).toBe(130)
    expect(operations.restore).not.toHaveBeenCalled()
  })
})

describe('progress', { timeout: 20_000 }, () => {
  function progressAt(times: number[], shown: boolean) {
    const stderr = terminalStream()
    const { io } = fakeIo()
    const clock = [...times]
    const progress = createProgress(
      { ...io, stderr, now: () => new Date(clock.shift() ?? times.at(-1) ?? 0) },
      { shown },
    )
    return { progress, text: () => String(stderr.read() ?? '') }
  }
  const event = (done: number) => ({ phase: 'itsm: reading', done, total: 100 })

  it('appears for long work and is wiped before anything else is printed', async () => {
    const { progress, text } = progressAt([0, 2000], true)
    progress.event(event(0))
    progress.event(event(50))
    let seen = ''
    await vi.waitFor(() => {
      seen += text()
      expect(seen).toContain('itsm: reading 50 %')
    })
    progress.print('a warning\n')
    progress.stop()
    expect(text()).toContain('a warning\n')
  })

  it('does not appear for short work, nor where it must not be shown', async () => {
    for (const [times, shown] of [[[0, 500], true] as const, [[0, 9000], false] as const]) {
      const { progress, text } = progressAt([...times], shown)
      progress.event(event(0))
      progress.event(event(50))
      await import('ora')
      progress.stop()
      expect(text()).toBe('')
    }
  })
})
