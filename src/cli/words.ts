import { everyOption, findCommand } from './declaration/index.js'
import type { CommandDeclaration } from './declaration/types.js'

const withValue = new Set(
  everyOption()
    .filter(option => option.value !== undefined && option.optionalValue !== true)
    .map(option => `--${option.name}`),
)

/** The words of a command line that are neither options nor their values, up to `--`. */
function plainWords(argv: readonly string[]): string[] {
  const words: string[] = []
  for (let at = 0; at < argv.length; at += 1) {
    const word = argv[at] ?? ''
    if (word === '--') break
    if (withValue.has(word)) at += 1
    else if (!word.startsWith('-')) words.push(word)
  }
  return words
}

/**
 * The command whose help a command line asks for: `--help`, `-h` anywhere, or `help` first.
 * `program` is the program's own help; undefined where no help is asked.
 */
export function helpAskedFor(argv: readonly string[]): CommandDeclaration | 'program' | undefined {
  const words = plainWords(argv)
  const byWord = words[0] === 'help'
  if (!byWord && !hasSwitch(argv, '--help') && !hasSwitch(argv, '-h')) return undefined
  const [first = '', second = ''] = byWord ? words.slice(1) : words
  return findCommand(`${first} ${second}`) ?? findCommand(first) ?? 'program'
}

/** Whether a switch stands in a command line, whatever else is wrong with it. */
export function hasSwitch(argv: readonly string[], flag: string): boolean {
  for (let at = 0; at < argv.length; at += 1) {
    const word = argv[at] ?? ''
    if (word === '--') return false
    if (withValue.has(word)) at += 1
    else if (word === flag) return true
  }
  return false
}
