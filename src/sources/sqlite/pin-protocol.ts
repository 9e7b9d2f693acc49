import type { WalChecksum } from './wal.js'

/** The snapshot that a pinned connection holds. */
export interface PinnedSnapshot {
  journalMode: string
  /** Bytes. */
  pageSize: number
  pageCount: number
  sqliteVersion: string
  /** Null outside WAL mode and for an empty log. */
  wal: {
    frame: number
    checksum: WalChecksum
    salts: string
    /** True when every frame of the snapshot is in the database file already. */
    backfilled: boolean
  } | null
}

export type CheckOutcome = {
  name: string
  kind: 'integrity' | 'content'
  /** `error`: SQLite could not run it, for a reason that says nothing of the database. */
  status: 'ok' | 'failed' | 'error'
  detail: string
}

export type PinRequest =
  | { kind: 'pin'; path: string; busyTimeoutMs: number; attempts: number }
  | { kind: 'check'; level: 'integrity' | 'quick' | 'none'; queries: string[] }
  | { kind: 'close' }

export interface PinFailure {
  message: string
  /** SQLite's extended result code, such as `SQLITE_NOTADB`, where SQLite failed. */
  sqlite: string | undefined
  /** True when a file beside the database was gone. */
  missing: boolean
}

export type PinResponse = { value: PinnedSnapshot | CheckOutcome[] | null } | { failure: PinFailure }
