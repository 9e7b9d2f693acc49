import { compress, decompress } from 'zstd-napi'
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
    const chunk = this.#open.get(number) ?? decompress(packed)
    this.#open.delete(number)
    this.#open.set(number, chunk)
    const [oldest] = this.#open.keys()
    if (this.#open.size > OPEN_CHUNKS && oldest !== undefined) this.#open.delete(oldest)
    return chunk
  }
}
