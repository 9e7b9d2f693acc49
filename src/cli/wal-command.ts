import { everyOption } from './declaration/index.js'

/** The commands that PostgreSQL calls itself; what their exit status means is PostgreSQL's to say. */
export type WalCommand = 'archive' | 'fetch'

/** The one of these that a declared command is. */
export function walCommandNamed(name: string): WalCommand | undefined {
  if (name === 'pitr archive') return 'archive'
  return name === 'pitr fetch' ? 'fetch' : undefined
}

/**
 * Which of these a command line means that the parser refuses. It is read generously: an option with a typing mistake
 * may have taken the next word as its value, and one without its value may have taken `pitr`. A recovery that is
 * stopped by a mistake is started again; one that ends early has lost data.
 */
export function walCommandMeant(argv: readonly string[]): WalCommand | undefined {
  const starts = argv.flatMap((word, at) => (word === 'pitr' ? [at] : []))
  const possible = new Set(starts.flatMap(at => possibleCommands(argv, at)))
  return (['fetch', 'archive'] as const).find(command => possible.has(command))
}

/** What may be the word after `pitr` when that word stands at `at`: every one up to the first that is no option. */
function possibleCommands(argv: readonly string[], at: number): string[] {
  if (!argv.slice(0, at).every((_, index) => isOption(argv, index))) return []
  const rest = argv.slice(at + 1)
  const end = rest.findIndex((_, index) => !isOption(rest, index))
  return rest.slice(0, end < 0 ? undefined : end + 1)
}

/** Whether a word is an option or may be the value of the option before it. */
function isOption(argv: readonly string[], at: number): boolean {
  const [word = '', before = ''] = [argv[at], argv[at - 1]]
  return word.startsWith('-') || (before.startsWith('-') && !before.includes('=') && !switches.has(before))
}

/** Options without a value: what follows one of these is a word of the command. */
const switches: ReadonlySet<string> = new Set(
  everyOption()
    .filter(({ value }) => value === undefined)
    .map(({ name }) => `--${name}`),
)

/**
 * The exit status that PostgreSQL must see: above 125 the archiver itself ends, uncounted; a restore_command that ends
 * with 1 to 125 ends recovery as if the WAL ended there, so only "not in the archive" may.
 */
export function walStatus(command: WalCommand | undefined, status: number): number {
  if (command === 'archive') return status > 125 ? 1 : status
  if (command === 'fetch') return status === 0 || status === 5 || status > 125 ? status : 126
  return status
}
