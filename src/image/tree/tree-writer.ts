import { NexusError } from '../../errors.js'
import type { ByteSink } from '../types.js'
import type { WorkerPool } from '../workers/pool.js'
import { checkedEntry, entryLine, MAX_LINE_BYTES } from './tree-entry.js'
import type { TreeEntry } from './types.js'

/** Bytes of lines that make one zstd frame. */
const FRAME_BYTES = 1024 * 1024
/** Text is worth a little more work than blocks, and there is little of it. */
const LEVEL = 3

/** Writes a tree part: JSON lines in zstd frames, one frame in memory. */
export class TreeWriter {
  readonly #sink: ByteSink
  readonly #pool: WorkerPool
  #lines: string[] = []
  #length = 0

  constructor(sink: ByteSink, pool: WorkerPool) {
    this.#sink = sink
    this.#pool = pool
  }

  /** @throws NexusError `failed` for an entry that no reader would take */
  add(entry: TreeEntry): void {
    const checked = checkedEntry(entry)
    const line = entryLine(entry)
    const problem = typeof checked === 'string' ? checked : line.length > MAX_LINE_BYTES / 4 ? 'is too long' : null
    if (problem !== null) {
      throw new NexusError('failed', 'tree_entry_impossible', `${JSON.stringify(entry.path)} ${problem}`)
    }
    this.#lines.push(line)
    this.#length += line.length + 1
  }

  /** Hands on what fills a frame. Called between entries as often as is convenient. */
  async drain(): Promise<void> {
    if (this.#length >= FRAME_BYTES) await this.end()
  }

  /** Hands on the rest. */
  async end(): Promise<void> {
    if (this.#lines.length === 0) return
    const bytes = new TextEncoder().encode(`${this.#lines.join('\n')}\n`)
    this.#lines = []
    this.#length = 0
    const { stored } = await this.#pool.run({ kind: 'pack', level: LEVEL, bytes }, [bytes.buffer])
    await this.#sink.write(stored)
  }
}
