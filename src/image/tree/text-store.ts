import { compress } from 'zstd-napi'
import binding from 'zstd-napi/binding.js'
import { bytesOfName, hasRawBytes, nameOf } from '../../system/file-names.js'

/** Bytes of text that are compressed together; a longer text stands alone. */
const CHUNK_BYTES = 64 * 1024

/** Chunks kept decompressed: readers go through a tree in its order, or through two parts of it side by side. */
const OPEN_CHUNKS = 4

/** Keeps texts without NUL, names of files among them, some to a row, compressed: names of a million files in a tenth of their size. */
export class TextStore {
  readonly #fields: number
  readonly #chunks: Buffer[] = []
  readonly #open = new Map<number, Buffer>()
  readonly #context = new binding.DCtx()
  #last = Buffer.allocUnsafe(CHUNK_BYTES)
  #used = 0

  /** @param fields texts of a row */
  constructor(fields: number) {
    this.#fields = fields
  }

  /** Keeps a row and returns its place: the chunk times CHUNK_BYTES plus the position in it. */
  add(...row: readonly string[]): number {
    const text = `${row.join('\0')}\0`
    const raw = hasRawBytes(text) ? bytesOfName(text) : null
    const length = raw?.length ?? Buffer.byteLength(text)
    if (this.#used + length > this.#last.length) {
      this.#chunks.push(compress(this.#last.subarray(0, this.#used)))
      this.#last = Buffer.allocUnsafe(Math.max(CHUNK_BYTES, length))
      this.#used = 0
    }
    const at = this.#used
    if (raw === null) this.#last.write(text, at)
    else raw.copy(this.#last, at)
    this.#used += length
    return this.#chunks.length * CHUNK_BYTES + at
  }

  /** The row at a place. */
  at(place: number): string[] {
    const chunk = this.#chunk(Math.floor(place / CHUNK_BYTES))
    const begin = place % CHUNK_BYTES
    let end = begin
    for (let fields = 0; fields < this.#fields; fields += 1) end = chunk.indexOf(0, end) + 1
    return nameOf(chunk.subarray(begin, end - 1)).split('\0')
  }

  #chunk(number: number): Buffer {
    const packed = this.#chunks[number]
    if (packed === undefined) return this.#last
    const chunk = this.#open.get(number) ?? this.#opened(packed)
    this.#open.delete(number)
    this.#open.set(number, chunk)
    return chunk
  }

  /** In the memory of the chunk that was not asked for the longest: what is left to the garbage collector piles up for long. */
  #opened(packed: Buffer): Buffer {
    const length = binding.getFrameContentSize(packed) ?? 0
    const [oldest] = this.#open.size < OPEN_CHUNKS ? [] : this.#open.keys()
    const free = oldest === undefined ? undefined : this.#open.get(oldest)
    if (oldest !== undefined) this.#open.delete(oldest)
    const chunk = free !== undefined && free.length >= length ? free : Buffer.allocUnsafe(Math.max(CHUNK_BYTES, length))
    this.#context.decompress(chunk, packed)
    return chunk
  }
}
