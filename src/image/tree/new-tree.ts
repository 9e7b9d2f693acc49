import { NexusError } from '../../errors.js'
import { blocksOfFile, type FileLayout } from '../file-layout.js'
import { PathIndex } from './path-index.js'
import type { FilePlace } from './tar-frames.js'
import type { TreePaths } from './tree.js'
import { TreeLayoutBuilder } from './tree-layout.js'
import type { TreeWriter } from './tree-writer.js'
import type { CarriedFile, TreeEntry } from './types.js'

/** The list of entries of an image under way: numbers the files, finds what each continues, and keeps the rules. */
export class NewTree {
  readonly #before: TreePaths | null
  readonly #writer: TreeWriter
  readonly #layout: TreeLayoutBuilder
  readonly #paths = new PathIndex()
  /** One for each of the parent's files that a file of this image continues. */
  readonly #taken: Uint8Array
  #entries = 0

  constructor(blockSize: number, before: TreePaths | null, writer: TreeWriter) {
    this.#layout = new TreeLayoutBuilder(blockSize)
    this.#before = before
    this.#writer = writer
    this.#taken = new Uint8Array(before?.count ?? 0)
  }

  get entries(): number {
    return this.#entries
  }

  get files(): number {
    return this.#layout.files
  }

  /** Blocks of all files. */
  get rows(): number {
    return this.#layout.rows
  }

  /** Bytes of all files. */
  get bytes(): number {
    return this.#layout.bytes
  }

  /** The files taken in so far. */
  layout(): FileLayout {
    return this.#layout.finish()
  }

  /** Takes in a file that is its parent's, unread. @throws NexusError `failed` when it cannot be */
  carry(entry: CarriedFile['entry']): void {
    const size = entry.base < this.#taken.length ? this.#before?.layout.sizeOf(entry.base) : undefined
    if (size !== entry.size || this.#taken[entry.base] === 1) {
      throw new NexusError(
        'failed',
        'tree_carry_impossible',
        `${JSON.stringify(entry.path)} cannot be taken over unread`,
      )
    }
    this.#add(entry)
  }

  /** Takes in an entry of the archive as the source describes it, null when it is left out. */
  enter(header: TreeEntry, describe: (entry: TreeEntry) => TreeEntry | null): FilePlace | null {
    const base = header.type === 'file' ? this.#baseFor(header.path) : null
    const described = describe({ ...header, base })
    if (described === null) return null
    if (described.type !== header.type || described.size !== header.size) {
      throw new NexusError('failed', 'tree_entry_impossible', `${JSON.stringify(header.path)} became another entry`)
    }
    if (described.type !== 'file') {
      this.#add({ ...described, base: null })
      return null
    }
    const renamed = described.path !== header.path && described.base === base
    const wanted = renamed ? this.#baseFor(described.path) : described.base
    const free = wanted !== null && wanted < this.#taken.length && this.#taken[wanted] === 0
    const row = this.#layout.rows
    const entry = { ...described, base: free ? wanted : null }
    return { file: this.#add(entry), row, before: this.#rowsOf(entry.base) }
  }

  #baseFor(path: string): number | null {
    return this.#before?.fileNumber(path) ?? null
  }

  #rowsOf(base: number | null): FilePlace['before'] {
    if (base === null || this.#before === null) return null
    const { layout } = this.#before
    return { row: layout.firstRowOf(base), count: blocksOfFile(layout, base) }
  }

  #add(entry: TreeEntry): number {
    const file = entry.type === 'file' ? this.#layout.files : -1
    this.#writer.add(entry)
    const problem = this.#paths.add(entry, file)
    if (problem !== null) {
      throw new NexusError('failed', 'tree_entry_impossible', `${JSON.stringify(entry.path)} ${problem}`)
    }
    if (entry.base !== null) this.#taken[entry.base] = 1
    if (entry.type === 'file') this.#layout.add(entry.size, entry.base ?? -1)
    if (!Number.isSafeInteger(this.#layout.bytes)) {
      throw new NexusError('failed', 'tree_too_large', 'the files are larger together than can be')
    }
    this.#entries += 1
    return file
  }
}
