import { spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { onTestFinished } from 'vitest'
import { shellQuoted } from '../../../src/operations/shell.js'
import { binary } from './run.js'

/** Whoever waits for a text on a terminal gives up then (ms). */
const PATIENCE_MS = 60_000

/** A command that runs on a terminal of its own, and who sits there. */
export interface Terminal {
  /** Resolves when this has appeared, after what was waited for before; rejects when the command ends without it. */
  shows(text: string): Promise<void>
  /** Types, as a keyboard does: Enter is `\r`, Ctrl-C `\x03`. */
  type(text: string): void
  /** Everything that appeared, once the command has ended; with its status and how the terminal is set then. */
  ended(): Promise<{ code: number; screen: string; echoes: boolean }>
}

/**
 * Runs nexus-backup on a pseudo-terminal of `script` (util-linux, on every Debian), followed by its status and what
 * `stty` says of the terminal that it leaves.
 */
export function onTerminal(words: readonly string[], env: Record<string, string> = {}): Terminal {
  const command = [process.execPath, binary, ...words].map(shellQuoted).join(' ')
  const child = spawn('script', ['-q', '-c', `${command}; echo "status=$?"; stty -a`, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin', HOME: '/nonexistent', TERM: 'dumb', SHELL: '/bin/sh', ...env },
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  let [screen, seen, closed] = ['', 0, false]
  child.stdout.setEncoding('utf8').on('data', text => {
    screen += text
  })
  const done = new Promise<void>(resolve =>
    child.once('close', () => {
      closed = true
      resolve()
    }),
  )
  return {
    async shows(text) {
      for (let waited = 0; ; waited += 20) {
        const at = screen.indexOf(text, seen)
        if (at >= 0) {
          seen = at + text.length
          return
        }
        if (closed || waited > PATIENCE_MS) throw new Error(`${text} never appeared: ${JSON.stringify(screen)}`)
        await sleep(20)
      }
    },
    type: text => void child.stdin.write(text),
    async ended() {
      await done
      const code = Number(/status=(\d+)/.exec(screen)?.[1] ?? Number.NaN)
      return { code, screen, echoes: /(?<!-)\becho\b/.test(screen.slice(screen.lastIndexOf('status='))) }
    },
  }
}
