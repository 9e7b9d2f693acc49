import type { Frame, Span } from '../types.js'
import { TarReader } from './tar-reader.js'
import type { TreeEntry } from './types.js'

/** Files and pieces between them in a frame: each is a few objects here and in the thread it goes to. */
const MAX_SPANS = 1024

/** A file's place in the image. */
export interface FilePlace {
  file: number
  /** Row of its first block in the digest table. */
  row: number
  /** Rows of the file it continues in the parent's table. */
  before: { row: number; count: number } | null
}

export interface FrameSettings {
  blockSize: number
  /** Bytes of a frame, at most, unless one block is larger. */
  frameBytes: number
  /** Whether bytes that belong to no file are part of the stream, as a full stores them. */
  raw: boolean
  /** Called with each entry as it comes; says where a file's blocks go, null when its bytes belong to no file. */
  enter(entry: TreeEntry): FilePlace | null
}

/**
 * Cuts a tar archive into frames. No block is cut in two, and the bytes of a frame lie in one buffer of its own, which
 * can be handed to a thread whole.
 *
 * @throws NexusError `failed` when the archive is cut off or garbled
 */
export async function* tarFrames(
  tar: AsyncIterable<Uint8Array>,
  settings: FrameSettings,
): AsyncGenerator<Frame, void, void> {
  const reader = new TarReader()
  const builder = new FrameBuilder(settings)
  for await (const chunk of tar) {
    for (const piece of reader.push(chunk)) {
      if (piece.kind === 'entry') builder.enter(piece.entry, settings.enter(piece.entry))
      else if (piece.kind === 'content' && builder.inFile) yield* builder.content(piece.bytes)
      else if (settings.raw) yield* builder.raw(piece.bytes)
    }
  }
  reader.finish()
  yield* builder.finish()
}

/** Consecutive bytes of the frame being made. */
interface OpenSpan {
  begin: number
  end: number
  run: Span['run']
}

class FrameBuilder {
  readonly #blockSize: number
  readonly #capacity: number
  #buffer: Uint8Array<ArrayBuffer>
  #used = 0
  #spans: OpenSpan[] = []
  #place: FilePlace | null = null
  #size = 0
  /** Bytes of the file that have been taken in. */
  #done = 0

  constructor({ blockSize, frameBytes }: FrameSettings) {
    this.#blockSize = blockSize
    this.#capacity = Math.max(frameBytes, blockSize)
    this.#buffer = unfilled(this.#capacity)
  }

  get inFile(): boolean {
    return this.#place !== null && this.#done < this.#size
  }

  enter(entry: TreeEntry, place: FilePlace | null): void {
    this.#place = place
    this.#size = entry.size
    this.#done = 0
  }

  *raw(bytes: Uint8Array): Generator<Frame, void, void> {
    for (let at = 0; at < bytes.length; ) {
      if (this.#used === this.#capacity) yield this.#cut()
      const piece = bytes.subarray(at, at + this.#capacity - this.#used)
      const last = this.#spans.at(-1)
      if (last === undefined || last.run !== null) this.#spans.push({ begin: this.#used, end: this.#used, run: null })
      this.#append(piece)
      at += piece.length
    }
  }

  *content(bytes: Uint8Array): Generator<Frame, void, void> {
    for (let at = 0; at < bytes.length; ) {
      const inBlock = this.#done % this.#blockSize
      const block = Math.min(this.#blockSize, this.#size - (this.#done - inBlock))
      if (inBlock === 0) {
        if (this.#used + block > this.#capacity || this.#spans.length >= MAX_SPANS) yield this.#cut()
        this.#beginBlock()
      }
      const piece = bytes.subarray(at, at + block - inBlock)
      this.#append(piece)
      this.#done += piece.length
      at += piece.length
    }
  }

  *finish(): Generator<Frame, void, void> {
    if (this.#used > 0) yield this.#cut()
  }

  #append(bytes: Uint8Array): void {
    this.#buffer.set(bytes, this.#used)
    this.#used += bytes.length
    const last = this.#spans.at(-1)
    if (last !== undefined) last.end = this.#used
  }

  #beginBlock(): void {
    const place = this.#place
    if (place === null) return
    const first = this.#done / this.#blockSize
    const last = this.#spans.at(-1)
    if (last?.run?.file === place.file) {
      last.run.count += 1
      return
    }
    const old = place.before === null ? 0 : place.before.count - first
    const before = place.before === null || old <= 0 ? null : { row: place.before.row + first, count: old }
    const run = { file: place.file, first, count: 1, blockSize: this.#blockSize, row: place.row + first, before }
    this.#spans.push({ begin: this.#used, end: this.#used, run })
  }

  #cut(): Frame {
    const buffer = this.#buffer
    const frame = this.#spans.map(({ begin, end, run }) => {
      return { from: buffer.subarray(begin, end), length: end - begin, run }
    })
    this.#buffer = unfilled(this.#capacity)
    this.#used = 0
    this.#spans = []
    return frame
  }
}

/** Memory that is not set to zero first: only what `#used` covers, written by then, ever leaves the builder. */
function unfilled(bytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer as ArrayBuffer)
}
