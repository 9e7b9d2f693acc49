import type { Context } from '../context.js'
import { messageOf, NexusError } from '../errors.js'
import type { Journal, JournalEntry } from './types.js'

/** What `recorded` writes of work that went well; `done` and no backup unless said otherwise. */
export interface RecordedOutcome {
  result: string
  backup?: string | null
  error?: string | null
}

/**
 * Runs work between its beginning and its end in the journal. A journal that cannot be written never stops the work
 * nor hides its outcome: it goes to `context.journalFailed`.
 * @param outcome what the journal says of a value that the work returned
 */
export async function recorded<T>(
  context: Context,
  journal: Journal,
  entry: Parameters<Journal['begin']>[0],
  work: () => Promise<T>,
  outcome: (value: T) => RecordedOutcome = () => ({ result: 'done' }),
): Promise<T> {
  const written = attempt(context, () => journal.begin(entry))
  try {
    const value = await work()
    end(context, written, outcome(value))
    return value
  } catch (error) {
    end(context, written, { result: failureOf(context, error), error: messageOf(error) })
    throw error
  }
}

function end(context: Context, written: JournalEntry | undefined, outcome: RecordedOutcome): void {
  if (written !== undefined) attempt(context, () => written.end(outcome))
}

function attempt<T>(context: Context, write: () => T): T | undefined {
  try {
    return write()
  } catch (error) {
    context.journalFailed(error)
    return undefined
  }
}

function failureOf(context: Context, error: unknown): string {
  if (context.signal.aborted) return 'interrupted'
  return error instanceof NexusError ? error.kind : 'failed'
}
