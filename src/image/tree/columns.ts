const FIRST = 1024

/** A growing list of numbers at a few bytes each. */
export class Column<T extends Float64Array | Int32Array | Uint32Array> {
  readonly #make: (length: number) => T
  #values: T
  #length = 0

  constructor(make: (length: number) => T) {
    this.#make = make
    this.#values = make(FIRST)
  }

  get length(): number {
    return this.#length
  }

  push(value: number): void {
    if (this.#length === this.#values.length) {
      const larger = this.#make(Math.max(FIRST, 2 * this.#length))
      larger.set(this.#values)
      this.#values = larger
    }
    this.#values[this.#length] = value
    this.#length += 1
  }

  at(index: number): number {
    return this.#values[index] ?? 0
  }

  /** The values in an array of exactly their number. Where little room is left over, it is a view: a copy takes as much again. */
  trimmed(): T {
    const values = this.#values.subarray(0, this.#length) as T
    if (4 * this.#length > 3 * this.#values.length) return values
    const exact = this.#make(this.#length)
    exact.set(values)
    this.#values = exact
    return exact
  }
}

export function float64Column(): Column<Float64Array> {
  return new Column(length => new Float64Array(length))
}

export function int32Column(): Column<Int32Array> {
  return new Column(length => new Int32Array(length))
}

export function uint32Column(): Column<Uint32Array> {
  return new Column(length => new Uint32Array(length))
}
