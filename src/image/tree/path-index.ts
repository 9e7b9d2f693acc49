import { hash, randomBytes } from 'node:crypto'
import { bytesOfName, hasRawBytes } from '../../system/file-names.js'

const EMPTY = 0
/** A directory that is known only from what lies in it. */
const IMPLIED = 1
const DIRECTORY = 2
const FILE = 3
const OTHER = 4

const FIRST_SLOTS = 1024

/**
 * What is known of each path of an image, without the paths: 17 bytes a slot, for an image may have a million. Paths
 * are told apart by 64 bits of SHA-256 under a salt of the process, which nobody can make collide on purpose; by
 * chance two of a million do once in 30 million images, and then the image is refused and never taken for another.
 */
export class PathIndex {
  readonly #salt = randomBytes(16).toString('hex')
  #hashes = new Uint32Array(2 * FIRST_SLOTS)
  #kinds = new Uint8Array(FIRST_SLOTS)
  #files = new Int32Array(FIRST_SLOTS)
  /** Numbers among all entries. */
  #entries = new Int32Array(FIRST_SLOTS)
  #count = 0
  #used = 0
  /** The directory of the last entry: entries come directory by directory, and its ancestors are known already. */
  #lastDirectory = ''

  /**
   * Takes in an entry. Returns what is wrong: a path that is there already, one that lies below something that is no
   * directory, a hard link to what does not come before it or is a directory.
   * @param file its number, for entries of type file
   */
  add(entry: { path: string; type: string; link: string }, file: number): string | null {
    const { path, type, link } = entry
    if (!this.#implyDirectories(path)) return 'lies below something that is no directory'
    if (type === 'hardlink' && !this.#mayBeLinked(link)) return 'names a file that does not come before it'
    const slot = this.#slotFor(path)
    const there = this.#kinds[slot] ?? EMPTY
    if (there !== EMPTY && !(there === IMPLIED && type === 'directory')) return 'stands in the list twice'
    this.#kinds[slot] = type === 'directory' ? DIRECTORY : type === 'file' ? FILE : OTHER
    this.#files[slot] = file
    this.#entries[slot] = this.#count
    this.#count += 1
    if (there === EMPTY) this.#grow()
    return null
  }

  /** The number of the file with this path. */
  fileNumber(path: string): number | undefined {
    const slot = this.#slotFor(path)
    return this.#kinds[slot] === FILE ? this.#files[slot] : undefined
  }

  /** The number of the entry with this path, in the order in which they came. */
  entryNumber(path: string): number | undefined {
    const slot = this.#slotFor(path)
    const kind = this.#kinds[slot] ?? EMPTY
    return kind === EMPTY || kind === IMPLIED ? undefined : this.#entries[slot]
  }

  #mayBeLinked(path: string): boolean {
    const kind = this.#kinds[this.#slotFor(path)]
    return kind === FILE || kind === OTHER
  }

  #implyDirectories(path: string): boolean {
    const end = path.lastIndexOf('/')
    const directory = end < 0 ? '' : path.slice(0, end)
    if (directory === this.#lastDirectory) return true
    for (let at = directory; at !== ''; at = at.slice(0, Math.max(0, at.lastIndexOf('/')))) {
      const slot = this.#slotFor(at)
      const there = this.#kinds[slot] ?? EMPTY
      if (there === FILE || there === OTHER) return false
      if (there !== EMPTY) break
      this.#kinds[slot] = IMPLIED
      this.#grow()
    }
    this.#lastDirectory = directory
    return true
  }

  /** The slot of a path, or the empty one where it belongs; its hash is then written there. */
  #slotFor(path: string): number {
    const text = this.#salt + path
    const digest = hash('sha256', hasRawBytes(text) ? bytesOfName(text) : text, 'buffer')
    const high = digest.readUInt32LE(0)
    const low = digest.readUInt32LE(4)
    const slot = this.#find(high, low)
    if (this.#kinds[slot] === EMPTY) {
      this.#hashes[2 * slot] = high
      this.#hashes[2 * slot + 1] = low
    }
    return slot
  }

  #find(high: number, low: number): number {
    const mask = this.#kinds.length - 1
    let slot = low & mask
    while (this.#kinds[slot] !== EMPTY && !(this.#hashes[2 * slot] === high && this.#hashes[2 * slot + 1] === low)) {
      slot = (slot + 1) & mask
    }
    return slot
  }

  #grow(): void {
    this.#used += 1
    if (this.#used * 3 < this.#kinds.length * 2) return
    const [hashes, kinds, files, entries] = [this.#hashes, this.#kinds, this.#files, this.#entries]
    this.#hashes = new Uint32Array(2 * hashes.length)
    this.#kinds = new Uint8Array(2 * kinds.length)
    this.#files = new Int32Array(2 * files.length)
    this.#entries = new Int32Array(2 * entries.length)
    for (let old = 0; old < kinds.length; old += 1) {
      if (kinds[old] === EMPTY) continue
      const [high, low] = [hashes[2 * old] ?? 0, hashes[2 * old + 1] ?? 0]
      const slot = this.#find(high, low)
      this.#hashes[2 * slot] = high
      this.#hashes[2 * slot + 1] = low
      this.#kinds[slot] = kinds[old] ?? EMPTY
      this.#files[slot] = files[old] ?? 0
      this.#entries[slot] = entries[old] ?? 0
    }
  }
}
