/** Lines that are passed on, and characters of each. */
const MOST_LINES = 50
const MOST_CHARACTERS = 500

/** What a program says, line by line and bounded, however much it is. */
export class OutputLines {
  readonly #tell: (line: string) => void
  #rest = ''
  #lines = 0
  /** The last line that was not empty. */
  last = ''

  constructor(tell: (line: string) => void) {
    this.#tell = tell
  }

  take(text: string): void {
    const [first = '', ...more] = text.split('\n')
    this.#append(first)
    for (const piece of more) {
      this.#line()
      this.#append(piece)
    }
  }

  /** Passes on what is left, and says how much was not. */
  end(): void {
    this.#line()
    if (this.#lines > MOST_LINES) this.#tell(`and ${this.#lines - MOST_LINES} more lines`)
  }

  #append(piece: string): void {
    const room = MOST_CHARACTERS - this.#rest.length
    if (room > 0) this.#rest += piece.slice(0, room)
  }

  #line(): void {
    const line = this.#rest.trimEnd()
    this.#rest = ''
    if (line === '') return
    this.last = line
    this.#lines += 1
    if (this.#lines <= MOST_LINES) this.#tell(line)
  }
}
