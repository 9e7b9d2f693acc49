/** The commands that PostgreSQL calls itself; what their exit status means is PostgreSQL's to say. */
export type WalCommand = 'archive' | 'fetch'

/** Whether a command line is `pitr archive` or `pitr fetch`, also one with mistakes in it. Options may stand anywhere. */
export function walCommand(argv: readonly string[]): WalCommand | undefined {
  const [first, second] = argv.filter((word, at) => !word.startsWith('-') && !takesNext(argv[at - 1]))
  if (first !== 'pitr' || (second !== 'archive' && second !== 'fetch')) return undefined
  return second
}

/** Values of these are no words of the command: the rest of the global options are switches. */
const valued = new Set(['--config', '--repo', '--state', '--sqlite', '--name', '--wait', '--source'])

function takesNext(word: string | undefined): boolean {
  return word !== undefined && valued.has(word)
}

/**
 * The exit status that PostgreSQL must see (anchors/postgres.md 2.1, 2.2): above 125 the archiver itself ends, uncounted;
 * a restore_command that ends with 1 to 125 ends recovery as if the log ended there, so only "not in the archive" may.
 */
export function walStatus(command: WalCommand | undefined, status: number): number {
  if (command === 'archive') return status > 125 ? 1 : status
  if (command === 'fetch') return status === 0 || status === 5 || status > 125 ? status : 126
  return status
}
