import { NexusError } from '../errors.js'
import { proofsDirectory } from './layout.js'
import type { Storage, StorageEntry } from './storage/storage.js'
import {
  fitting,
  formatSummary,
  parseSummary,
  summarizedLimit,
  summaryDirectory,
  summaryLimit,
  summaryNumber,
  type Texts,
} from './summary.js'

/** Whatever reads a source's manifests and proofs. */
export type SmallFiles = Pick<Storage, 'list' | 'readSmall' | 'sizeOf'>

/** Files that must have been read one by one before a summary of them is worth its writing: those of 50 backups. */
const WORTH_A_SUMMARY = 100

/** Bytes of a file, and of all of them together, that are kept. */
const REMEMBERED = 64 * 1024
const ALL_REMEMBERED = 16 * 1024 * 1024

/** Write-once files that the steps of a run ask for several times, and that are read once as far as there is room for them. */
export class RememberedFiles implements SmallFiles {
  readonly #files: SmallFiles
  readonly #read = new Map<string, Buffer>()
  #bytes = 0

  constructor(files: SmallFiles) {
    this.#files = files
  }

  list(directory: string): Promise<StorageEntry[]> {
    return this.#files.list(directory)
  }

  sizeOf(name: string): Promise<number> {
    return this.#files.sizeOf(name)
  }

  async readSmall(name: string, limit: number): Promise<Buffer> {
    const known = this.#read.get(name)
    if (known !== undefined && known.byteLength <= limit) return known
    const bytes = await this.#files.readSmall(name, limit)
    if (bytes.byteLength <= REMEMBERED && this.#bytes + bytes.byteLength <= ALL_REMEMBERED) {
      this.#read.set(name, bytes)
      this.#bytes += bytes.byteLength
    }
    return bytes
  }
}

/** The newest summary; without texts where there is none, or where it cannot be used. */
interface Newest {
  number: number
  texts: Texts
  damage?: NexusError
}

/**
 * A source's small files on a store where each costs a request: what the newest summary holds is not asked for again. All
 * of them are write-once, so a summary can only lack something or hold too much; what is there, the listing says.
 */
export class SummarizedFiles implements SmallFiles {
  readonly #storage: Storage
  readonly #source: string
  #newest: Promise<Newest> | undefined
  #texts: Texts | undefined
  readonly #read = new Map<string, string>()

  constructor(storage: Storage, source: string) {
    this.#storage = storage
    this.#source = source
  }

  list(directory: string): Promise<StorageEntry[]> {
    return this.#storage.list(directory)
  }

  sizeOf(name: string): Promise<number> {
    return this.#storage.sizeOf(name)
  }

  async readSmall(name: string, limit: number): Promise<Buffer> {
    this.#newest ??= this.#load()
    const { texts } = await this.#newest
    this.#texts = texts
    const known = texts.get(this.#below(name))
    if (known !== undefined && Buffer.byteLength(known) <= limit) return Buffer.from(known)
    const bytes = await this.#storage.readSmall(name, limit)
    if (bytes.byteLength <= summarizedLimit) this.#read.set(this.#below(name), bytes.toString())
    return bytes
  }

  /** Whether a file below the source was taken from the newest summary, if it was read at all. */
  holds(name: string): boolean {
    return this.#texts?.has(name) === true
  }

  /** Why the newest summary cannot be used; undefined where it can, where there is none, and where none was asked for. */
  async damage(): Promise<NexusError | undefined> {
    return (await this.#newest)?.damage
  }

  /**
   * Writes a summary when there is enough that the newest one lacks, or when that one cannot be used; after a prune also when
   * half of it is gone. It is a cache: when it cannot be written the next run tries again. The caller holds the writer lock.
   */
  async keep(pruned: boolean): Promise<void> {
    try {
      await this.#keep(pruned)
    } catch (error) {
      if (!(error instanceof NexusError)) throw error
    }
  }

  async #keep(pruned: boolean): Promise<void> {
    const newest = await this.#newest
    if (newest === undefined) return
    const isBroken = newest.damage !== undefined
    if (this.#read.size < WORTH_A_SUMMARY && !pruned && !isBroken) return
    const isThere = await this.#listed()
    const there = (texts: Texts) => [...texts].filter(([name]) => isThere(name))
    const present = there(newest.texts)
    const isHalfGone = present.length * 2 < newest.texts.size
    const texts = fitting(new Map([...present, ...there(this.#read)]))
    const gained = [...texts.keys()].filter(name => !newest.texts.has(name)).length
    if (gained < WORTH_A_SUMMARY && !isHalfGone && !isBroken) return
    const directory = `${this.#source}/${summaryDirectory}`
    // Somebody else's number may be the last one.
    const next = summaryNumber(`${newest.number + 1}.json.zst`) ?? 1
    await this.#storage.writeOnce(`${directory}/${next}.json.zst`, formatSummary(texts))
    if (newest.number > 0) await this.#storage.removeFile(`${directory}/${newest.number}.json.zst`)
    this.#newest = Promise.resolve({ number: next, texts })
    this.#read.clear()
  }

  /** Tells of a name below the source whether its backup, or the proof itself, is still there. */
  async #listed(): Promise<(name: string) => boolean> {
    const proofs = await this.#storage.list(`${this.#source}/${proofsDirectory}`)
    const found = new Set([
      ...(await this.#storage.list(this.#source)).map(({ name }) => name),
      ...proofs.map(({ name }) => `${proofsDirectory}/${name}`),
    ])
    return name => found.has(name.startsWith(`${proofsDirectory}/`) ? name : name.slice(0, name.indexOf('/')))
  }

  #below(name: string): string {
    return name.slice(this.#source.length + 1)
  }

  async #load(): Promise<Newest> {
    const directory = `${this.#source}/${summaryDirectory}`
    const numbers = (await this.#storage.list(directory)).flatMap(({ name }) => summaryNumber(name) ?? [])
    const number = Math.max(0, ...numbers)
    if (number === 0) return { number, texts: new Map() }
    const name = `${directory}/${number}.json.zst`
    try {
      const bytes = await this.#storage.readSmall(name, summaryLimit)
      return { number, texts: parseSummary(bytes, this.#storage.displayed(name)) }
    } catch (error) {
      // A cache that is broken, cannot be read, or was just replaced by the next one, is done without.
      if (!(error instanceof NexusError) || error.kind === 'interrupted') throw error
      return { number, texts: new Map(), ...(error.kind === 'not-found' ? {} : { damage: error }) }
    }
  }
}
