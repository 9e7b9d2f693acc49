import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import { checkout, forOthers } from '../../helpers/checkout.js'
import { kindEnvironment } from '../../helpers/repository-kind.js'

/**
 * The program under test, where every user reaches it: a restored server calls it as its own user. Another build can be
 * named, so that a long run is not disturbed by a rebuild.
 */
export const binary =
  process.env.NEXUS_BACKUP_TEST_BINARY ??
  forOthers(fileURLToPath(new URL('../../../bin/nexus-backup', import.meta.url)))

/** Programs that play the application. */
export function program(name: string): string {
  return fileURLToPath(new URL(`../programs/${name}.mjs`, import.meta.url))
}

export interface RunOptions {
  cwd?: string
  /** Added to a minimal environment: PATH, HOME and the journal's time zone, nothing of the test runner's. */
  env?: Record<string, string>
  /** Run as this user and group; needs root. */
  uid?: number
  gid?: number
  /** Arguments of node itself. */
  node?: string[]
}

export interface Finished {
  /** Exit status, or null when a signal ended it. */
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
  /** Milliseconds from start to end. */
  duration: number
}

export interface Running {
  child: ChildProcess
  done: Promise<Finished>
}

/** Runs nexus-backup to its end, without a terminal, as cron would. */
export function run(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  return start(args, options).done
}

/** Starts nexus-backup. */
export function start(args: readonly string[], options: RunOptions = {}): Running {
  return startProcess(process.execPath, [...(options.node ?? []), binary, ...args], options)
}

/** Starts any program; what is still alive when the test ends is killed. */
export function startProcess(command: string, args: readonly string[], options: RunOptions = {}): Running {
  const { cwd, uid, gid } = options
  const began = performance.now()
  const other = uid !== undefined && uid !== 0
  const child = spawn(command, other ? args.map(forOthers) : args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: minimalEnvironment(options.env),
    cwd: cwd ?? (other ? forOthers(checkout) : process.cwd()),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
  })
  onTestFinished(() => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
  })
  let stdout = ''
  let stderr = ''
  child.stdout?.setEncoding('utf8').on('data', text => {
    stdout += text
  })
  child.stderr?.setEncoding('utf8').on('data', text => {
    stderr += text
  })
  const done = new Promise<Finished>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => {
      resolve({ code, signal, stdout, stderr, duration: performance.now() - began })
    })
  })
  done.catch(() => {})
  return { child, done }
}

/** Resolves when a started program has printed this text on stdout; rejects when it ends before. */
export function printed(running: Running, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let seen = ''
    const look = (chunk: string) => {
      seen += chunk
      if (!seen.includes(text)) return
      running.child.stdout?.off('data', look)
      resolve()
    }
    running.child.stdout?.on('data', look)
    running.done.then(
      ({ code, stderr }) => reject(new Error(`ended with ${code} before it printed ${text}: ${stderr}`)),
      reject,
    )
  })
}

/** What cron gives a job: nearly nothing, and what it must be told to reach a bucket. */
function minimalEnvironment(added: Record<string, string> = {}): Record<string, string> {
  return { PATH: process.env.PATH ?? '/usr/bin:/bin', HOME: '/nonexistent', ...kindEnvironment, ...added }
}
