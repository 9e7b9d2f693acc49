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

  /** @param base -1 for none */
  add(size: number, base: number): void {
    this.#sizes.push(size)
    this.#firstRows.push(this.#rows)
    this.#bases.push(base)
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
  // Lists are in the order of names, and most files keep theirs.
  if (areRising(layout)) return true
  const bases = new Int32Array(layout.count)
  for (let file = 0; file < layout.count; file += 1) bases[file] = layout.baseOf(file)
  bases.sort()
  return bases.every((base, at) => base < 0 || base !== bases[at + 1])
}

function areRising(layout: FileLayout): boolean {
  let last = -1
  for (let file = 0; file < layout.count; file += 1) {
    const base = layout.baseOf(file)
    if (base < 0) continue
    if (base <= last) return false
    last = base
  }
  return true
}
