import { Readable } from 'node:stream'
import type { CommandIo } from '../../src/cli/io.js'
import { runCommandLine } from '../../src/cli/run.js'

export interface FakeRun {
  status: number
  stdout: string
  stderr: string
}

/** A process of our own making: no terminal, an empty environment, a fixed clock. */
export function fakeIo(overrides: Partial<CommandIo> = {}): { io: CommandIo; stdout(): string; stderr(): string } {
  const written = { stdout: '', stderr: '' }
  const sink = (name: 'stdout' | 'stderr', isTTY: boolean | undefined) => ({
    isTTY: isTTY === true,
    write: (text: string) => {
      written[name] += text
    },
  })
  const io: CommandIo = {
    writeBytes: async bytes => {
      written.stdout += Buffer.from(bytes).toString('latin1')
    },
    stdin: Readable.from([]),
    env: {},
    cwd: '/desk',
    program: ['/usr/bin/node', '/opt/nexus-backup/bin/nexus-backup'],
    now: () => new Date('2025-11-03T03:00:00.000Z'),
    host: 'test-host',
    user: { name: 'tester', uid: 1000, home: '/home/tester' },
    signal: new AbortController().signal,
    onProgressRequest: () => () => {},
    ...overrides,
    stdout: sink('stdout', overrides.stdout?.isTTY),
    stderr: sink('stderr', overrides.stderr?.isTTY),
  }
  return { io, stdout: () => written.stdout, stderr: () => written.stderr }
}

/** A stream that says it is a terminal. */
export const terminal = { isTTY: true, write: () => {} }

/** Runs a command line in this process. */
export async function runFake(argv: string[], overrides: Partial<CommandIo> = {}): Promise<FakeRun> {
  const { io, stdout, stderr } = fakeIo(overrides)
  const status = await runCommandLine(argv, io)
  return { status, stdout: stdout(), stderr: stderr() }
}
