import { reasonOf } from '../../errors.js'
import { shown } from '../../system/file-names.js'

/** So many are told by name; of the others only how many there were. */
const TOLD = 100

/** What of a tree could not be restored, or not as it was. The data of everything else is there. */
export class RestoreProblems {
  readonly #told: string[] = []
  readonly #missing = new Set<string>()
  #count = 0

  /** Paths of entries that could not be made. */
  get missing(): ReadonlySet<string> {
    return this.#missing
  }

  /** An entry could not be made. @param why an error, or the end of a sentence */
  leftOut(path: string, why: unknown): void {
    this.#missing.add(path)
    this.#tell(`${shown(path)} is not restored: ${wordsOf(why)}`)
  }

  /** An entry is there, and something about it is not as it was. @param what is the end of a sentence */
  altered(path: string, what: string): void {
    this.#tell(`${shown(path)} is restored, but ${what}`)
  }

  /** An entry that was to be taken away is still there. @param why is the end of a sentence */
  stays(path: string, why: string): void {
    this.#tell(`${shown(path)} stays: ${why}`)
  }

  /** Whether an entry's directory could not be made. */
  hasNoPlace(path: string): boolean {
    if (this.#missing.size === 0) return false
    return this.#missing.has(path.slice(0, Math.max(path.lastIndexOf('/'), 0)))
  }

  /** All of it, bounded. */
  sentences(): string[] {
    const more = this.#count - this.#told.length
    return more > 0 ? [...this.#told, `and ${more} more problems of this kind`] : [...this.#told]
  }

  #tell(sentence: string): void {
    this.#count += 1
    if (this.#told.length < TOLD) this.#told.push(sentence)
  }
}

function wordsOf(why: unknown): string {
  return typeof why === 'string' ? why : reasonOf(why)
}
