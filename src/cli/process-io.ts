import { readlinkSync } from 'node:fs'
import { homedir, hostname, userInfo } from 'node:os'
import { endBySignal } from './end-process.js'
import { type EndingSignal, interruption } from './exit-codes.js'
import type { CommandIo } from './io.js'

/** What the command line may know of this process. From now on signals stop the work, a second one the process. */
export function processIo(): CommandIo {
  const controller = new AbortController()
  onSignals(signal => controller.abort(interruption(signal)))
  return {
    stdout: process.stdout,
    stderr: process.stderr,
    writeBytes: bytes =>
      new Promise((resolve, reject) => {
        process.stdout.write(bytes, error => (error == null ? resolve() : reject(error)))
      }),
    get stdin() {
      return process.stdin
    },
    env: process.env,
    cwd: currentDirectory(),
    program: [process.execPath, process.argv[1] ?? ''],
    now: () => new Date(),
    host: hostname(),
    user: currentUser(),
    signal: controller.signal,
    onProgressRequest: callback => {
      // Never removed: without a listener SIGUSR1 starts Node's debugger.
      let listener: () => void = callback
      process.on('SIGUSR1', () => listener())
      return () => {
        listener = () => {}
      }
    },
  }
}

function onSignals(stop: (signal: EndingSignal) => void): void {
  let stopping = false
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (stopping) endBySignal(signal)
      stopping = true
      stop(signal)
    })
  }
}

/** In a disaster the directory one stands in may be gone: paths are then as the shell remembers it. */
function currentDirectory(): string {
  try {
    return process.cwd()
  } catch {
    const remembered = directoryThatIsGone() ?? process.env.PWD ?? '/'
    // Programs that we start need one that exists.
    process.chdir('/')
    return remembered
  }
}

/** As Linux remembers it; the shell that runs our first lines (bin/nexus-backup) forgets it. */
function directoryThatIsGone(): string | undefined {
  try {
    return readlinkSync('/proc/self/cwd').replace(/ \(deleted\)$/, '')
  } catch {
    return undefined
  }
}

/** Containers run users that have no name and sometimes no home. */
function currentUser(): CommandIo['user'] {
  const uid = process.getuid?.() ?? 0
  try {
    return { name: userInfo().username, uid, home: homedir() }
  } catch {
    return { name: String(uid), uid, home: process.env.HOME ?? '/' }
  }
}
