/** Which blocks have been seen: one bit each, 32 MiB for a terabyte of 4 KiB pages. */
export class BlockSet {
  readonly #bits: Uint8Array
  readonly #size: number
  #count = 0

  constructor(size: number) {
    this.#bits = new Uint8Array(Math.ceil(size / 8))
    this.#size = size
  }

  /** True when the block was not there before; blocks beyond the end are never added. */
  add(block: number): boolean {
    if (block >= this.#size) return false
    // Not >> 3: that would wrap at 2^31 blocks, 8 TiB of 4 KiB pages.
    const byteAt = Math.floor(block / 8)
    const byte = this.#bits[byteAt] ?? 0
    const mask = 1 << (block & 7)
    if ((byte & mask) !== 0) return false
    this.#bits[byteAt] = byte | mask
    this.#count += 1
    return true
  }

  has(block: number): boolean {
    return ((this.#bits[Math.floor(block / 8)] ?? 0) & (1 << (block & 7))) !== 0
  }

  /** Blocks that have been added. */
  get count(): number {
    return this.#count
  }

  get complete(): boolean {
    return this.#count === this.#size
  }
}
