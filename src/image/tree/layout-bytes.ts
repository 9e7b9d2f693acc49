const quote = 0x22
const comma = 0x2c
const minus = 0x2d
const point = 0x2e
const zero = 0x30
const nine = 0x39
const colon = 0x3a
const backslash = 0x5c
const closeBrace = 0x7d
const newline = 0x0a
const firstPrintable = 0x20

const bytesOf = (text: string) => new Uint8Array(Buffer.from(text))

const beforePath = bytesOf('{"path":')
const beforeType = bytesOf(',"type":')
const file = bytesOf('"file"')
const others = ['"directory"', '"symlink"', '"hardlink"'].map(bytesOf)
/** Fields of numbers, with the digits that each may have. */
const owners: readonly [Uint8Array, number][] = [
  [bytesOf(',"mode":'), 4],
  [bytesOf(',"uid":'), 10],
  [bytesOf(',"gid":'), 10],
]
const beforeOwner = bytesOf(',"owner":')
const beforeGroup = bytesOf(',"group":')
const beforeTime = bytesOf(',"mtime":')
const beforeSize = bytesOf(',"size":')
const beforeLink = bytesOf(',"link":')
const beforeAttributes = bytesOf(',"attributes":{')
const beforeSparse = bytesOf(',"sparse":')
const beforeBase = bytesOf(',"base":')
const beforeFacts = bytesOf(',"facts":{')
const words = { true: bytesOf('true'), false: bytesOf('false'), null: bytesOf('null') }

/**
 * Takes size and base out of lines as `entryLine` writes them, byte by byte and without making a string of them: most of the
 * time that a chain of a hundred trees takes goes into its hundred lists. A line with an escape in it, or in any other form,
 * is left to `layoutOfLine`, with which this agrees about all others.
 */
export class LayoutScanner {
  #bytes: Uint8Array = new Uint8Array(0)
  /** Position of the next byte; -1 once the line is in another form. */
  #at = 0
  isFile = false
  size = 0
  /** -1 for null. */
  base = -1

  /**
   * @param plain as in `TreeCounts`
   * @returns the position after the line's end; -1 for a line in another form, or without an end
   */
  scan(bytes: Uint8Array, from: number, plain: boolean): number {
    this.#bytes = bytes
    this.#at = from
    this.#literal(beforePath)
    this.#text()
    this.#literal(beforeType)
    this.isFile = this.#has(file)
    if (!this.isFile && !others.some(type => this.#has(type))) return -1
    for (const [name, digits] of owners) {
      this.#literal(name)
      this.#count(digits)
    }
    this.#literal(beforeOwner)
    this.#text()
    this.#literal(beforeGroup)
    this.#text()
    this.#literal(beforeTime)
    this.#number()
    this.#literal(beforeSize)
    this.size = this.#count(15)
    this.#literal(beforeLink)
    this.#text()
    if (!plain && this.#has(beforeAttributes)) this.#pairs()
    this.#literal(beforeSparse)
    if (!this.#has(words.true)) this.#literal(words.false)
    this.#literal(beforeBase)
    this.base = this.#has(words.null) ? -1 : this.#count(9)
    this.#literal(beforeFacts)
    this.#pairs()
    this.#byte(closeBrace)
    this.#byte(newline)
    return this.isFile || (this.size === 0 && this.base === -1) ? this.#at : -1
  }

  /** Steps over a text if it stands here. */
  #has(wanted: Uint8Array): boolean {
    const at = this.#at
    if (at < 0) return false
    for (let n = 0; n < wanted.length; n += 1) if (this.#bytes[at + n] !== wanted[n]) return false
    this.#at = at + wanted.length
    return true
  }

  #literal(wanted: Uint8Array): void {
    if (!this.#has(wanted)) this.#at = -1
  }

  #byte(wanted: number): void {
    if (this.#at >= 0) this.#at = this.#bytes[this.#at] === wanted ? this.#at + 1 : -1
  }

  /** A string without escapes. */
  #text(): void {
    this.#byte(quote)
    if (this.#at < 0) return
    const bytes = this.#bytes
    let at = this.#at
    let byte = bytes[at]
    while (byte !== undefined && byte !== quote && byte !== backslash && byte >= firstPrintable) {
      at += 1
      byte = bytes[at]
    }
    this.#at = byte === quote ? at + 1 : -1
  }

  #digits(): void {
    const from = this.#at
    while (isDigit(this.#bytes[this.#at])) this.#at += 1
    if (this.#at === from) this.#at = -1
  }

  /** A number from 0 on, with at most so many digits. */
  #count(most: number): number {
    const from = this.#at
    if (from < 0) return 0
    let value = 0
    let at = from
    for (let byte = this.#bytes[at]; isDigit(byte); byte = this.#bytes[at]) {
      value = value * 10 + (byte - zero)
      at += 1
    }
    const isUsual = at > from && at - from <= most && (at - from === 1 || this.#bytes[from] !== zero)
    this.#at = isUsual ? at : -1
    return value
  }

  #number(): void {
    if (this.#at < 0) return
    if (this.#bytes[this.#at] === minus) this.#at += 1
    const from = this.#at
    this.#digits()
    if (this.#at > from + 1 && this.#bytes[from] === zero) this.#at = -1
    if (this.#at < 0 || this.#bytes[this.#at] !== point) return
    this.#at += 1
    this.#digits()
  }

  /** Pairs of names and plain values up to the brace behind them. */
  #pairs(): void {
    if (this.#at >= 0 && this.#bytes[this.#at] === closeBrace) {
      this.#at += 1
      return
    }
    while (this.#at >= 0) {
      this.#text()
      this.#byte(colon)
      this.#value()
      if (this.#at < 0) return
      const byte = this.#bytes[this.#at]
      this.#at += 1
      if (byte === closeBrace) return
      if (byte !== comma) this.#at = -1
    }
  }

  #value(): void {
    if (this.#at < 0) return
    if (this.#bytes[this.#at] === quote) this.#text()
    else if (!this.#has(words.true) && !this.#has(words.false) && !this.#has(words.null)) this.#number()
  }
}

function isDigit(byte: number | undefined): byte is number {
  return byte !== undefined && byte >= zero && byte <= nine
}
