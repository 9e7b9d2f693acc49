/** So many of a kind are told one by one; of the others only how many there were. */
const TOLD = 20

/** What there is to say about a capture, gathered while it goes on. */
export interface Remarks {
  /** Something is missing in the backup or may be torn: the run ends with 3. */
  problem(message: string): void
  /** Something was left out as it should be. */
  skipped(path: string): void
  /** All of it, bounded. */
  warnings(): string[]
  readonly incomplete: boolean
}

export function newRemarks(): Remarks {
  const problems: string[] = []
  let problemCount = 0
  let skippedCount = 0
  let firstSkipped = ''
  return {
    problem(message) {
      problemCount += 1
      if (problems.length < TOLD) problems.push(message)
    },
    skipped(path) {
      if (skippedCount === 0) firstSkipped = path
      skippedCount += 1
    },
    warnings() {
      const more = problemCount - problems.length
      const skipped = `left out as no files: ${shown(firstSkipped)}${skippedCount > 1 ? ` and ${skippedCount - 1} more` : ''}`
      return [
        ...problems,
        ...(more > 0 ? [`and ${more} more problems of this kind`] : []),
        ...(skippedCount > 0 ? [`${skipped} (sockets, pipes, devices, special file systems)`] : []),
      ]
    },
    get incomplete() {
      return problemCount > 0
    },
  }
}

/** A path for a message: whoever chose the name, no control characters reach the operator's terminal. */
export function shown(path: string): string {
  return /[\p{C}\p{Zl}\p{Zp}]/u.test(path)
    ? JSON.stringify(path).replace(
        /[\p{C}\p{Zl}\p{Zp}]/gu,
        character => `\\u{${character.codePointAt(0)?.toString(16)}}`,
      )
    : path
}
