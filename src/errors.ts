/**
 * What went wrong, in the words of the exit-code table (design section 7).
 * `cli/exit-codes.ts` is the only place that turns a kind into a number.
 */
export type ErrorKind =
  | 'failed'
  | 'usage'
  | 'partial'
  | 'damage'
  | 'not-found'
  | 'locked'
  | 'configuration'
  | 'refused'
  | 'interrupted'

/** What an error tells beyond its message. */
export interface ErrorDetails {
  /** The next step for the operator; where one exists, the exact command. */
  hint?: string
  cause?: unknown
}

/**
 * An error the operator is meant to read: what failed, on what, why, and a hint with the next command.
 * Anything else that reaches the command line is a defect and is shown with its stack.
 */
export class NexusError extends Error {
  override readonly name = 'NexusError'
  readonly kind: ErrorKind
  /** Stable machine-readable name of the failure, snake_case: scripts match on it. */
  readonly code: string
  readonly hint: string | undefined

  constructor(kind: ErrorKind, code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.kind = kind
    this.code = code
    this.hint = details.hint
  }
}

/** The errno name of a system error (`ENOSPC`, `EACCES` …), or undefined. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  const code = (error as NodeJS.ErrnoException).code
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The system's words for an error without the path, for a sentence in which it stands already. */
export function reasonOf(error: unknown): string {
  return errnoOf(error) === undefined ? messageOf(error) : messageOf(error).replace(/, [a-z]+( '.*)?$/s, '')
}

/** What stops all of a restore: no other file would fare better. */
const OF_ALL_FILES: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EIO', 'EROFS', 'ENOMEM', 'EMFILE', 'ENFILE'])

/** Whether a system error is one of the file it happened to, whose name, kind or size is more than its place can take. */
export function isOfOneFile(error: unknown): boolean {
  const errno = errnoOf(error)
  return errno !== undefined && !OF_ALL_FILES.has(errno)
}
