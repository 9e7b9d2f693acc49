/**
 * Joins neighbouring ranges of rows before they are used: an image of a hundred thousand small files has as many
 * ranges, and each by itself would be a system call.
 */
export class RowRanges {
  readonly #use: (from: number, to: number, count: number) => void
  #from = 0
  #to = 0
  #count = 0

  /** `use` is called with each joined range: where it is taken from, where it goes, how many rows. */
  constructor(use: (from: number, to: number, count: number) => void) {
    this.#use = use
  }

  add(from: number, to: number, count: number): void {
    if (count <= 0) return
    if (from === this.#from + this.#count && to === this.#to + this.#count) {
      this.#count += count
      return
    }
    this.end()
    this.#from = from
    this.#to = to
    this.#count = count
  }

  /** Uses what is still held back. */
  end(): void {
    if (this.#count > 0) this.#use(this.#from, this.#to, this.#count)
    this.#count = 0
  }
}
