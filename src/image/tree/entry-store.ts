import { compress, decompress } from 'zstd-napi'
import { float64Column, int32Column, uint32Column } from './columns.js'
import type { TreeEntry } from './types.js'

/** Bytes of text that are compressed together; a longer text stands alone. */
const CHUNK_BYTES = 64 * 1024

/** Chunks kept decompressed: readers go through a tree in its order, or through two parts of it side by side. */
const OPEN_CHUNKS = 4

/** What is the same for nearly all entries of a tree. */
type Profile = Pick<TreeEntry, 'type' | 'mode' | 'uid' | 'gid' | 'owner' | 'group' | 'sparse'>

/**
 * Keeps entries in columns, their texts compressed: as objects a million of them would take half a gigabyte. Size and base of files are not
 * kept here, the layout has them.
 */
export class EntryStore {
  readonly #profiles: Profile[] = []
  readonly #profileNumbers = new Map<string, number>()
  readonly #profile = uint32Column()
  readonly #mtime = float64Column()
  /** Where an entry's path, link and facts begin, each ended by a NUL: chunk times CHUNK_BYTES plus position in it. */
  readonly #text = float64Column()
  readonly #file = int32Column()
  readonly #entryOfFile = int32Column()
  readonly #chunks: Buffer[] = []
  readonly #open = new Map<number, Buffer>()
  #last = Buffer.allocUnsafe(CHUNK_BYTES)
  #used = 0

  get size(): number {
    return this.#profile.length
  }

  /** @param file its number, -1 for entries of other types */
  add(entry: TreeEntry, file: number): void {
    if (file >= 0) this.#entryOfFile.push(this.size)
    this.#file.push(file)
    this.#mtime.push(entry.mtime)
    const facts = JSON.stringify(entry.facts)
    this.#text.push(this.#keep(`${entry.path}\0${entry.link}\0${facts === '{}' ? '' : facts}\0`))
    this.#profile.push(this.#profileOf(entry))
  }

  /** The number of a file among all entries. */
  numberOfFile(file: number): number {
    return this.#entryOfFile.at(file)
  }

  /** An entry by number; `size` and `base` of a file are to be filled in. */
  entry(number: number): { entry: TreeEntry; file: number } {
    const [path = '', link = '', facts = ''] = this.#textAt(this.#text.at(number))
    const profile = this.#profiles[this.#profile.at(number)]
    if (profile === undefined) throw new RangeError(`there is no entry ${number}`)
    const mtime = this.#mtime.at(number)
    const known = facts === '' ? {} : JSON.parse(facts)
    return { entry: { path, ...profile, mtime, size: 0, link, base: null, facts: known }, file: this.#file.at(number) }
  }

  #profileOf({ type, mode, uid, gid, owner, group, sparse }: TreeEntry): number {
    const key = `${type} ${mode} ${uid} ${gid} ${sparse} ${owner}\0${group}`
    const known = this.#profileNumbers.get(key)
    if (known !== undefined) return known
    this.#profileNumbers.set(key, this.#profiles.length)
    return this.#profiles.push({ type, mode, uid, gid, owner, group, sparse }) - 1
  }

  #keep(text: string): number {
    const length = Buffer.byteLength(text)
    if (this.#used + length > this.#last.length) {
      this.#chunks.push(compress(this.#last.subarray(0, this.#used)))
      this.#last = Buffer.allocUnsafe(Math.max(CHUNK_BYTES, length))
      this.#used = 0
    }
    const at = this.#used
    this.#last.write(text, at)
    this.#used += length
    return this.#chunks.length * CHUNK_BYTES + at
  }

  #textAt(place: number): string[] {
    const chunk = this.#chunk(Math.floor(place / CHUNK_BYTES))
    const begin = place % CHUNK_BYTES
    let end = begin
    for (let fields = 0; fields < 3; fields += 1) end = chunk.indexOf(0, end) + 1
    return chunk.toString('utf8', begin, end).split('\0')
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
