import type { WrittenTime } from '../../config/instant.js'
import type { PostgresSourceSettings, RepositorySettings } from '../../config/settings.js'
import type { RestoreResult } from '../results.js'

/** Up to where a cluster is brought back. */
export type ClusterTarget =
  /** The backup as it was at its own end, without any of the archive. */
  | { kind: 'base' }
  /**
   * Up to and with the last commit, in the order of the WAL, whose time is not after the one named. `before`: up to the
   * commit before the first one of the time named, or of a later one.
   */
  | { kind: 'time'; at: WrittenTime; before: boolean }
  /** `0/2000028`: up to and with the record at this position. */
  | { kind: 'lsn'; lsn: string }
  /**
   * Up to and with the end of this transaction, as the server numbers it in WAL (without an epoch). `before`: up to the
   * commit before it, and before it removes files of a database or a tablespace.
   */
  | { kind: 'xid'; xid: string; before: boolean }
  /** A name given to pg_create_restore_point(). */
  | { kind: 'restore-point'; name: string }
  /** The end of the gapless archive. */
  | { kind: 'end' }

/** `latest`: the one written last; `current`: the backup's own, also where another one left it. */
export type TimelineChoice = 'latest' | 'current' | number

export interface TablespaceMapping {
  /** Absolute path that the tablespace had. */
  from: string
  /** Absolute; must not exist, or be an empty directory. */
  to: string
}

/** `pitr restore SOURCE` of a cluster, and `restore BACKUP|SOURCE --to PATH` of one (target `base`). */
export interface RestoreClusterRequest {
  command: 'restore' | 'pitr restore'
  repositories: RepositorySettings[]
  /** Target `base`: a backup's id, a prefix of it or a source's name. All others: the source's name. */
  backup: string
  target: ClusterTarget
  /** Only of target `base`: restore a backup that is not ours; `backup` is its whole id. */
  untrusted?: boolean | undefined
  timeline: TimelineChoice
  /** A backup of a damaged cluster may be used where no sound one leads to the target. */
  allowDamaged?: boolean | undefined
  /** Absolute path of the new data directory; must not exist, or be an empty directory. */
  to: string
  tablespaceMap: readonly TablespaceMapping[]
  /** Where `pg_wal` is to lie, absolute, when not in the data directory. */
  waldir?: string | undefined
  /** What the server does at the target. Default of the command line: promote. */
  targetAction: 'promote' | 'pause' | 'shutdown'
  /** Leaves archive_mode and archive_command as they were captured. */
  keepArchiving: boolean
  /** Run the server until recovery is over and the content checks are done; null: only lay the files down. */
  start: { stop: boolean } | null
  /** Content checks, programs and connection, where the source is configured. */
  source: PostgresSourceSettings | undefined
  /** How the server's restore_command calls this program: absolute path of Node and of the script. */
  program: readonly string[]
  /** Flags that say where configuration or repository lie (`--config FILE`, `--repo DIR`), absolute. */
  flags: readonly string[]
  dryRun: boolean
}

/** A commit in the WAL. */
export interface NamedCommit {
  xid: string
  lsn: string
  /** ISO 8601 UTC with microseconds. */
  at: string
}

/** What the restore of a cluster is going to do; printed first, and all that `--dry-run` does. */
export interface ClusterRestorePlan {
  id: string
  source: string
  captured_at: string
  /** Ids from the full to the chosen backup. */
  chain: string[]
  target: string
  bytes: number
  system_identifier: string
  /** For people: `to 2025-11-03T14:30:00.000Z`, `to the end of the archive` … */
  until: string
  /** The timeline that recovery follows. */
  timeline: number
  /** WAL that recovery reads from the archive; null when none is needed. */
  wal: { from: string; to: string; segments: number } | null
  /** What the operator should know: that no transaction lies between the last commit and the instant asked. */
  notes: string[]
  tablespaces: { oid: number; from: string; to: string }[]
  /** Where `pg_wal` will lie; null for the data directory itself. */
  waldir: string | null
  /** The server's name for the target: `recovery_target_lsn = '…'`; null for a base at its own end. */
  recovery_target: string | null
  /** The last commit that is replayed; null when none is after the backup, or it is not known before (`--lsn`). */
  last_commit: NamedCommit | null
  /** The first one that is not replayed; null when there is none, or it is not known before. */
  next_commit: NamedCommit | null
  /** What was wrong with the cluster that the backup is of, where it was damaged. */
  damage?: string
}

/** How far the started server came. */
export interface ReachedTarget {
  /** Instant of the last transaction replayed; null when none was. */
  at: string | null
  lsn: string
  /** The timeline that the server is on now. */
  timeline: number
  /** Stands at the target, open for reading only. */
  paused: boolean
}

export interface RestoreClusterResult extends RestoreResult {
  requested_at: string | null
  system_identifier: string
  recovery_target: string | null
  last_commit: NamedCommit | null
  next_commit: NamedCommit | null
  timeline: number
  notes: string[]
  /** As in the plan. */
  damage?: string
  /** Null when the server was not started. */
  reached: ReachedTarget | null
  /** The running server; null when none was left running. `connect` is a command to paste, and so is `stop`. */
  server: { socket_directory: string; port: number; log: string; connect: string; stop: string } | null
  /** What to do next, when the server was not started: the command that starts it. */
  next: string | null
  /** Where that server's socket and log are, and the command that stops it; null when there is no `next`. */
  prepared: { socket_directory: string; port: number; log: string; stop: string } | null
}
