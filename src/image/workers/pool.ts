import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { NexusError } from '../../errors.js'
import type { Answer, Question } from './block-worker.js'
import type { ResultOf, Task } from './tasks.js'

/** More threads than this gain nothing for a stream that one thread writes. */
const MOST_WORKERS = 8

interface Waiting {
  resolve(result: unknown): void
  reject(error: Error): void
}

/**
 * Worker threads that digest, compress and decompress. Threads, not processes: they share descriptors, so the
 * database file is opened once and stays open as long as its locks matter (anchors/sqlite.md 2, rule 6).
 */
export class WorkerPool {
  readonly #workers: { thread: Worker; busy: number }[]
  readonly #waiting = new Map<number, Waiting>()
  #ticket = 0
  #failure: Error | undefined
  /** Ends listening to the signal: a run has one signal and may have a pool for each of many sources. */
  #stopListening: () => void = () => {}

  private constructor(size: number) {
    this.#workers = Array.from({ length: size }, () => {
      const thread = new Worker(new URL('./block-worker.js', import.meta.url))
      const worker = { thread, busy: 0 }
      thread.on('message', (answer: Answer) => {
        worker.busy -= 1
        this.#settle(answer)
      })
      thread.on('error', error => this.#fail(error))
      thread.on('exit', () => this.#fail(new Error('a worker thread ended')))
      return worker
    })
  }

  /** Starts the threads: one for each core by default. Stopped when `signal` aborts. */
  static start(signal: AbortSignal, size = Math.min(availableParallelism(), MOST_WORKERS)): WorkerPool {
    const pool = new WorkerPool(size)
    const interrupt = () => pool.#fail(interrupted())
    signal.addEventListener('abort', interrupt, { once: true })
    pool.#stopListening = () => signal.removeEventListener('abort', interrupt)
    if (signal.aborted) pool.#fail(interrupted())
    return pool
  }

  /** How many tasks should be under way to keep every thread busy while the next ones wait. */
  get width(): number {
    return this.#workers.length * 2
  }

  /**
   * Has one of the threads do a task. Buffers in `moved` are handed over, not copied.
   *
   * @throws NexusError `failed` for a read or write error, `interrupted` after a signal
   */
  run<T extends Task>(task: T, moved: ArrayBuffer[] = []): Promise<ResultOf<T>> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    const worker = this.#workers.reduce((best, other) => (other.busy < best.busy ? other : best))
    worker.busy += 1
    this.#ticket += 1
    const ticket = this.#ticket
    return new Promise((resolve, reject) => {
      this.#waiting.set(ticket, { resolve: resolve as (result: unknown) => void, reject })
      worker.thread.postMessage({ ticket, task } satisfies Question, moved)
    })
  }

  /** Ends the threads; tasks still under way are rejected. */
  async stop(): Promise<void> {
    this.#stopListening()
    this.#failure ??= new Error('the worker threads have been stopped')
    await Promise.all(this.#workers.map(worker => worker.thread.terminate()))
  }

  #settle(answer: Answer): void {
    const waiting = this.#waiting.get(answer.ticket)
    this.#waiting.delete(answer.ticket)
    if ('result' in answer) waiting?.resolve(answer.result)
    else waiting?.reject(taskError(answer.failure))
  }

  #fail(error: Error): void {
    this.#failure ??= error
    for (const waiting of this.#waiting.values()) waiting.reject(this.#failure)
    this.#waiting.clear()
  }
}

function taskError(failure: { message: string; errno: string | undefined }): NexusError {
  const code = failure.errno === 'ENOSPC' ? 'disk_full' : 'block_io_failed'
  const cause = Object.assign(new Error(failure.message), { code: failure.errno })
  return new NexusError('failed', code, failure.message, { cause })
}

function interrupted(): NexusError {
  return new NexusError('interrupted', 'interrupted', 'stopped by a signal')
}
