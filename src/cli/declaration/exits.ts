import type { ExitDeclaration } from './types.js'

/** Every exit status of the program in general words (design section 7). */
export const exitTable: readonly ExitDeclaration[] = [
  { status: 0, means: 'done' },
  { status: 1, means: 'failed' },
  { status: 2, means: 'the command line is wrong; nothing was done' },
  { status: 3, means: 'partly done' },
  { status: 4, means: 'damage found' },
  { status: 5, means: 'not found: a backup, a source, or a time that cannot be restored' },
  { status: 6, means: 'locked by another run' },
  { status: 7, means: 'the configuration is missing or invalid' },
  { status: 8, means: 'refused for safety; the message names the flag that would allow it' },
  { status: 129, means: 'ended by SIGHUP' },
  { status: 130, means: 'ended by SIGINT' },
  { status: 143, means: 'ended by SIGTERM' },
]

/** The statuses that mean the same everywhere, and those in between in the words of one command. */
export function exitsWith(own: Readonly<Record<number, string>>, without: readonly number[] = []): ExitDeclaration[] {
  return exitTable
    .filter(({ status }) => !without.includes(status))
    .map(({ status, means }) => ({ status, means: own[status] ?? means }))
}
