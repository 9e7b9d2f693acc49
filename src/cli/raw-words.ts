import { readFileSync } from 'node:fs'
import { nameOf } from '../system/file-names.js'

/** What Node puts for bytes of the command line that are not UTF-8. */
const REPLACED = '\ufffd'

/** Whether the command line may hold bytes that are not UTF-8. */
export function mayHaveRawBytes(argv: readonly string[]): boolean {
  return argv.some(word => word.includes(REPLACED))
}

/**
 * The words of the command line with the bytes that they were given with, as names of files are texts here: so that a file
 * whose name is not UTF-8 can be named. Words stay as Node has them where the system does not tell.
 *
 * @param read gives the command line of this process, with a zero after each word
 */
export function rawWords(
  argv: readonly string[],
  read: () => Buffer = () => readFileSync('/proc/self/cmdline'),
): string[] {
  const given = wordsOf(read)
  // Node and its own arguments stand before.
  const last = given.slice(Math.max(0, given.length - argv.length))
  return argv.map((word, at) => {
    const bytes = last[at]
    return word.includes(REPLACED) && bytes?.toString() === word ? nameOf(bytes) : word
  })
}

function wordsOf(read: () => Buffer): Buffer[] {
  const words: Buffer[] = []
  try {
    const bytes = read()
    for (let at = 0, end = bytes.indexOf(0); end >= 0; at = end + 1, end = bytes.indexOf(0, at))
      words.push(bytes.subarray(at, end))
  } catch {
    // No such file: another system.
  }
  return words
}
