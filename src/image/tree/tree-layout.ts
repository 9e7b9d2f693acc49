import type { FileLayout } from '../file-layout.js'
import { float64Column, int32Column } from './columns.js'

/** Counts the files of a tree and their places: 20 bytes a file. */
export class TreeLayoutBuilder {
  readonly #blockSize: number
  readonly #sizes = float64Column()
  readonly #firstRows = float64Column()
  readonly #bases = int32Column()
  #rows = 0
  #bytes = 0

  constructor(blockSize: number) {
    this.#blockSize = blockSize
  }

  get files(): number {
    return this.#sizes.length
  }

  get rows(): number {
    return this.#rows
  }

  /** Bytes of all files; not a safe integer any more when they are too large together. */
  get bytes(): number {
    return this.#bytes
  }

  add(size: number, base: number | null): void {
    this.#sizes.push(size)
    this.#firstRows.push(this.#rows)
    this.#bases.push(base ?? -1)
    this.#rows += Math.ceil(size / this.#blockSize)
    this.#bytes += size
  }

  finish(): FileLayout {
    const [sizes, firstRows, bases] = [this.#sizes.trimmed(), this.#firstRows.trimmed(), this.#bases.trimmed()]
    return {
      count: sizes.length,
      rows: this.#rows,
      blockSizeOf: () => this.#blockSize,
      sizeOf: file => sizes[file] ?? 0,
      firstRowOf: file => firstRows[file] ?? 0,
      baseOf: file => bases[file] ?? -1,
    }
  }
}

/** Whether no two files continue the same one. */
export function basesAreUnique(layout: FileLayout): boolean {
  const bases = Int32Array.from({ length: layout.count }, (_, file) => layout.baseOf(file)).sort()
  return bases.every((base, at) => base < 0 || base !== bases[at + 1])
}
