import { Worker } from 'node:worker_threads'
import { NexusError } from '../../errors.js'
import { assertOwnSidecars } from '../../system/sidecars.js'
import { whileBusy } from './busy-threads.js'
import type { CheckOutcome, PinFailure, PinnedSnapshot, PinRequest, PinResponse } from './pin-protocol.js'
import { usersOf } from './users.js'

/** How long SQLite waits for somebody's lock before the run gives up. */
const BUSY_TIMEOUT_MS = 10_000
const BRACKET_ATTEMPTS = 200_000

/** A read transaction held open on a database by a thread of its own, because better-sqlite3 is synchronous. */
export class Pin {
  readonly snapshot: PinnedSnapshot
  readonly #thread: Worker
  readonly #path: string
  readonly #signal: AbortSignal
  #released: Promise<void> | undefined

  private constructor(thread: Worker, path: string, signal: AbortSignal, snapshot: PinnedSnapshot) {
    this.#thread = thread
    this.#path = path
    this.#signal = signal
    this.snapshot = snapshot
  }

  /**
   * Opens the database read-only and begins a read transaction.
   *
   * @throws NexusError when it is no database, is damaged, or held exclusively by somebody; `refused` (`sidecar_linked`)
   */
  static async on(path: string, signal: AbortSignal): Promise<Pin> {
    return Pin.#by(new Worker(new URL('./pin-worker.js', import.meta.url)), path, signal)
  }

  static async #by(thread: Worker, path: string, signal: AbortSignal): Promise<Pin> {
    try {
      assertOwnSidecars(path)
      const request = { kind: 'pin' as const, path, busyTimeoutMs: BUSY_TIMEOUT_MS, attempts: BRACKET_ATTEMPTS }
      return new Pin(thread, path, signal, (await ask(thread, path, request)) as PinnedSnapshot)
    } catch (error) {
      await end(thread, path)
      throw error
    }
  }

  /**
   * Runs SQLite's own check and content checks on the pinned snapshot. Nothing interrupts SQLite in them: after a signal
   * they are left behind.
   */
  async check(level: 'integrity' | 'quick' | 'none', queries: string[]): Promise<CheckOutcome[]> {
    const checks = ask(this.#thread, this.#path, { kind: 'check', level, queries })
    return (await unlessAborted(checks, this.#signal)) as CheckOutcome[]
  }

  /**
   * Ends the transaction and begins one on another database, in the same thread: starting a second one takes longer
   * than backing up a small database. This pin is released, also when it fails.
   *
   * @throws NexusError as `on` does
   */
  async moveTo(path: string): Promise<Pin> {
    this.#released = ask(this.#thread, this.#path, { kind: 'close' }).then(
      () => {},
      () => {},
    )
    await this.#released
    return Pin.#by(this.#thread, path, this.#signal)
  }

  /** Ends the transaction; once is enough. Raw descriptors of the database may be closed only after this. */
  release(): Promise<void> {
    this.#released ??= unlessAborted(end(this.#thread, this.#path), this.#signal).catch(() => {})
    return this.#released
  }
}

async function end(thread: Worker, path: string): Promise<void> {
  await ask(thread, path, { kind: 'close' }).catch(() => {})
  await thread.terminate()
}

/** The result of `work`, or the reason of the signal as soon as it is aborted; `work` then goes on unheard. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  work.catch(() => {})
  let stop = () => {}
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason)
    signal.addEventListener('abort', stop, { once: true })
    if (signal.aborted) stop()
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

function ask(thread: Worker, path: string, request: PinRequest): Promise<unknown> {
  const answered = new Promise((resolve, reject) => {
    const done = () => {
      thread.off('message', onMessage)
      thread.off('error', onError)
      thread.off('exit', onExit)
    }
    const onMessage = (response: PinResponse) => {
      done()
      if ('value' in response) resolve(response.value)
      else reject(explain(path, response.failure))
    }
    const onError = (error: Error) => {
      done()
      reject(error)
    }
    const onExit = () => onError(new Error('the thread that reads the database ended'))
    thread.on('message', onMessage)
    thread.on('error', onError)
    thread.on('exit', onExit)
    thread.postMessage(request)
  })
  return whileBusy(answered)
}

/** SQLite's result codes in words, with what to do about them. */
export function explain(path: string, failure: PinFailure): NexusError {
  const code = failure.sqlite ?? ''
  if (code === 'SQLITE_NOTADB') {
    return new NexusError('failed', 'not_a_database', `${path} is encrypted or not a SQLite database`, {
      hint: 'check the path; a database encrypted by SQLCipher or the like must be backed up with its own tool',
    })
  }
  if (code.startsWith('SQLITE_CORRUPT')) {
    return new NexusError('damage', 'source_damaged', `${path} is damaged: ${failure.message}`, {
      hint: `look at it with: sqlite3 ${path} 'PRAGMA integrity_check'; the last good backup is in: nexus-backup list`,
    })
  }
  if (code.startsWith('SQLITE_BUSY') || code.startsWith('SQLITE_PROTOCOL')) {
    const holders = usersOf(path).processes.map(user => `${user.command} (pid ${user.pid}, user ${user.user})`)
    const who = holders.length > 0 ? holders.join(', ') : 'another process'
    return new NexusError('failed', 'source_busy', `${path} is held exclusively by ${who}`, {
      hint: 'run again when its transaction has ended; a program that sets locking_mode=EXCLUSIVE must be stopped first',
    })
  }
  if (code === 'SQLITE_READONLY_ROLLBACK') {
    return new NexusError('failed', 'source_needs_rollback', `${path} has a journal left from a crash`, {
      hint: 'start and stop the application once: SQLite then undoes the unfinished transaction',
    })
  }
  if (code === 'SQLITE_CANTOPEN' || code.startsWith('SQLITE_READONLY') || code === 'SQLITE_PERM') {
    return new NexusError('failed', 'source_unreadable', `${path} cannot be opened: ${failure.message}`, {
      hint: 'its directory must be writable for whoever runs this: SQLite needs its -wal and -shm files beside it',
    })
  }
  if (failure.missing) {
    return new NexusError('failed', 'source_moved', `${path} was replaced while being opened: ${failure.message}`, {
      hint: 'run it again',
    })
  }
  return new NexusError('failed', 'source_failed', `${path} cannot be read: ${failure.message}`)
}
