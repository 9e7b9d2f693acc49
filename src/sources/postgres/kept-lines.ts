/** Lines kept of the beginning and of the end. */
const KEPT = 200
const LONGEST = 2000

/** What a long-running program writes to stderr: the first and the last lines, however many there are. */
export class KeptLines {
  readonly #first: string[] = []
  #last: string[] = []
  #rest = ''
  #count = 0

  /** Takes the next bytes as text, lines cut anywhere. */
  push(text: string): void {
    const lines = (this.#rest + text).split(/[\r\n]+/)
    this.#rest = (lines.pop() ?? '').slice(0, LONGEST)
    for (const line of lines) this.#add(line)
  }

  #add(line: string): void {
    if (line.trim() === '') return
    this.#count++
    const kept = line.slice(0, LONGEST)
    if (this.#first.length < KEPT) this.#first.push(kept)
    else this.#last = [...this.#last, kept].slice(-KEPT)
  }

  /** All lines, as far as they were kept. */
  lines(): string[] {
    const rest = this.#rest.trim() === '' ? [] : [this.#rest]
    const left = this.#count - this.#first.length - this.#last.length
    return [...this.#first, ...(left > 0 ? [`… ${left} more lines …`] : []), ...this.#last, ...rest]
  }
}
