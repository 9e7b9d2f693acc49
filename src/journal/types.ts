/** One finished or interrupted operation as `list --journal` shows it. */
export interface JournalRecord {
  sequence: number
  operation: string
  source: string | null
  backup: string | null
  repository: string | null
  operator: { user: string; sudo_user: string | null }
  host: string
  started_at: string
  /** Null while it runs, and for ever when the process was killed. */
  ended_at: string | null
  /** `done`, `failed`, `partial`, `damage`, `refused` …; `interrupted` when no end was written. */
  result: string
  error: string | null
}

/** The hash-chained record of every operation, in the catalog of the state directory. */
export interface Journal {
  /** Writes the start of an operation. */
  begin(entry: { operation: string; source: string | null; repository: string | null }): JournalEntry
  /** Oldest first, and whether every link of the hash chain holds. */
  read(): { records: JournalRecord[]; chain: { ok: true } | { ok: false; problem: string } }
  /** Hash of the last link, or null for an empty journal: manifests carry it, so a cut-off tail shows. */
  head(): { sequence: number; hash: string } | null
  close(): void
}

export interface JournalEntry {
  end(outcome: { result: string; backup?: string | null; error?: string | null }): void
}
