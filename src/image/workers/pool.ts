import { availableParallelism } from 'node:os'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { NexusError } from '../../errors.js'
import { giveBack } from '../../give-back.js'
import { type Answer, answerTo, type Question } from './answer.js'
import { TaskExecutor } from './execute.js'
import { bytesIn, type ResultOf, type Task } from './tasks.js'

/** More threads than this gain nothing for a stream that one thread writes. */
const MOST_WORKERS = 8

/**
 * Work for which one more thread is started: doing it takes about as long as the start. What comes before the first
 * thread answers is done here, so that a small source needs no thread at all.
 */
const BYTES_PER_THREAD = 4 << 20

interface Waiting {
  resolve(result: unknown): void
  reject(error: Error): void
}

interface BlockThread {
  thread: Worker
  /** Tasks sent to it that it has not answered. */
  busy: number
  /** Whether it runs yet. */
  online: boolean
}

/**
 * Worker threads that digest, compress and decompress, started as the work grows. Threads, not processes: they share
 * descriptors, so the database file is opened once and stays open as long as its locks matter (anchors/sqlite.md 2,
 * rule 6).
 */
export class WorkerPool {
  readonly #size: number
  readonly #threads: BlockThread[] = []
  readonly #waiting = new Map<number, Waiting>()
  /** Tasks that are done here, one after another. */
  #here: Promise<void> = Promise.resolve()
  #executor: TaskExecutor | undefined
  #ticket = 0
  /** Bytes of all tasks so far. */
  #bytes = 0
  #failure: Error | undefined
  /** Ends listening to the signal: a run has one signal and may have a pool for each of many sources. */
  #stopListening: () => void = () => {}

  private constructor(size: number) {
    this.#size = size
  }

  /** A pool of at most `size` threads, one for each core by default. Stopped when `signal` aborts. */
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
    return this.#size * 2
  }

  /** How many threads there are now. */
  get threads(): number {
    return this.#threads.length
  }

  /**
   * Has one of the threads do a task, or does it here while none runs. Buffers in `moved` are handed over, not copied;
   * the others must stay as they are until the result is there.
   *
   * @throws NexusError `failed` for a read or write error, `interrupted` after a signal
   */
  run<T extends Task>(task: T, moved: ArrayBuffer[] = []): Promise<ResultOf<T>> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    this.#bytes += bytesIn(task)
    if (this.#threads.length < Math.min(this.#size, Math.floor(this.#bytes / BYTES_PER_THREAD))) this.#startThread()
    this.#ticket += 1
    const ticket = this.#ticket
    return new Promise((resolve, reject) => {
      this.#waiting.set(ticket, { resolve: resolve as (result: unknown) => void, reject })
      if (!this.#sent({ ticket, task }, moved)) this.#runHere({ ticket, task }, moved)
    })
  }

  /** Ends the threads; tasks still under way are rejected. */
  async stop(): Promise<void> {
    this.#stopListening()
    this.#fail(new Error('the worker threads have been stopped'))
    await Promise.all(this.#threads.map(({ thread }) => thread.terminate()))
    // What is done here reads descriptors that the caller closes next.
    await this.#here
  }

  #startThread(): void {
    const started: BlockThread = {
      thread: new Worker(new URL('./block-worker.js', import.meta.url)),
      busy: 0,
      online: false,
    }
    started.thread.on('online', () => {
      started.online = true
    })
    started.thread.on('message', (answer: Answer) => {
      started.busy -= 1
      this.#settle(answer)
    })
    started.thread.on('error', error => this.#fail(error))
    started.thread.on('exit', () => this.#fail(new Error('a worker thread ended')))
    this.#threads.push(started)
  }

  /** Sends a question to the thread that has the least to do; false while none runs. */
  #sent(question: Question, moved: ArrayBuffer[]): boolean {
    const [first, ...others] = this.#threads.filter(({ online }) => online)
    if (first === undefined) return false
    const thread = others.reduce((best, other) => (other.busy < best.busy ? other : best), first)
    thread.thread.postMessage(question, moved)
    thread.busy += 1
    return true
  }

  /**
   * Between two tasks the event loop gets its turn: what scans blocks that did not change waits for nothing else, and signals,
   * leases and threads that start would wait for the end of it.
   */
  #runHere(question: Question, moved: ArrayBuffer[]): void {
    this.#here = this.#here
      .then(() => nextTurn())
      .then(() => this.#doHere(question, moved))
      .catch(error => this.#fail(error))
  }

  /** Does a task, unless it was given up meanwhile, or a thread runs by now. */
  async #doHere(question: Question, moved: ArrayBuffer[]): Promise<void> {
    if (!this.#waiting.has(question.ticket) || this.#sent(question, moved)) return
    this.#executor ??= new TaskExecutor()
    const answer = await answerTo(question, this.#executor)
    for (const buffer of moved) giveBack(new Uint8Array(buffer))
    this.#settle(answer)
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
