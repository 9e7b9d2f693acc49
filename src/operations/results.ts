import type { ErrorKind } from '../errors.js'
import type { BackupType, SourceKind } from '../repository/manifest.js'
import type { ProofStatus } from '../repository/types.js'

/** A backup as `create` and `list` report it (design section 7); bytes and milliseconds. */
export interface BackupReport {
  id: string
  source: string
  kind: SourceKind
  type: BackupType
  parent: string | null
  captured_at: string
  bytes_source: number
  bytes_stored: number
  blocks_total: number
  blocks_stored: number
  duration_ms: number
  repository: string
  warnings: string[]
  /** Made with `--allow-damaged` from a source that failed its check: the command ends with 4. */
  damaged_source: boolean
  /** Something vanished or changed while it was read; the warnings say what. The command ends with 3. */
  incomplete: boolean
}

/** How a store with object lock keeps a new backup and what it depends on. */
export interface LockReport {
  /** The new backup's own lock ends then; what it depends on is locked as long, but for a day at most. ISO 8601 UTC. */
  until: string
  /** Backups and files of the log whose locks were extended now; those that last long enough are not touched. */
  backups: number
  wal: number
}

/** A backup as `create` reports it. */
export interface CreatedBackup extends BackupReport {
  /** The key that it is signed with, where nobody has vouched for that yet: it is not ours until somebody does. */
  unvouched?: string
  /** That key is distrusted: nobody can vouch for it any more. */
  distrusted?: boolean
  /** Absent where the repository has no object lock. */
  lock?: LockReport
  /** What was seen meanwhile; absent when there is nothing. */
  concerns?: Concern[]
}

/** What endangers a source although the work is done: the run ends with 3. */
export interface Concern {
  source: string
  code: string
  message: string
  hint: string
}

/** A backup whose chain is whole and in which no verify has found damage. */
export interface ListedBackup extends BackupReport {
  status: 'ok'
  proven: boolean
  label: string | null
  keep_until: string | null
  host: string
}

/** What cannot be restored. */
export interface ListedProblem {
  id: string
  source: string
  repository: string
  /** `untrusted` only of a copy: not ours, and therefore not copied. */
  status: 'damaged' | 'partial' | 'untrusted'
  problem: string
}

/** Why a backup is not ours, so that it counts for nothing: it is restored only by its id and with --untrusted. */
export interface Untrusted {
  trust: 'stranger' | 'badly-signed' | 'plain'
  problem: string
}

export interface ListedUntrusted extends BackupReport, Untrusted {
  status: 'untrusted'
  label: string | null
  keep_until: string | null
  host: string
}

export interface ListResult {
  command: 'list'
  backups: ListedBackup[]
  /** Backups that are not ours, in the same order. */
  untrusted: ListedUntrusted[]
  /** Damaged backups, and those that damage makes unrestorable, always; partial ones only with `--all`. */
  problems: ListedProblem[]
}

export interface Failure {
  source: string
  /** Decides the exit status when nothing succeeded. */
  kind: ErrorKind
  code: string
  message: string
  hint: string | null
}

/** What one repository got from another of one source. */
export interface CopyReport {
  source: string
  /** Locations of the repositories. */
  from: string
  to: string
  /** Ids copied, or, in a dry run, to be copied. */
  backups: string[]
  /** Files of a cluster's log. */
  wal: number
  /** Bytes written there, or, in a dry run, of the backups to be copied. */
  bytes: number
  /** Backups left out because they cannot be restored, are not ours, or because something else has their id there. */
  problems: ListedProblem[]
  /** Why encrypted copies count for nothing there yet: nothing that counts attests the keys they are sealed to. */
  unattested?: { problem: string; hint: string }
}

export interface CopyResult {
  command: 'copy'
  dry_run: boolean
  copies: CopyReport[]
  failures: (Failure & { to: string })[]
}

export interface CreateResult {
  command: 'create'
  backups: CreatedBackup[]
  failures: Failure[]
  /** What went to the repositories named by `copies`, and what did not: that makes the run partly done. */
  copies: CopyReport[]
  copy_failures: CopyResult['failures']
}

/** `error`: the check itself could not be run, which says nothing of what was to be checked. */
export type CheckStatus = 'ok' | 'failed' | 'skipped' | 'error'

/** A part of a files backup: its entries of all types, and the files among them with their bytes. */
export interface PartCounts {
  entries: number
  files: number
  bytes: number
}

/** What a merge did to the directory. */
export interface MergeCounts {
  /** Entries that were not there; a new directory counts as one, with what it holds. */
  created: number
  /** Relative paths of what was replaced: it is kept below `previous`, under the same paths. */
  replaced: string[]
  /** Entries that stayed as they were there. */
  left: number
  /** Of the undo of a merge: entries that the merge had added and that were removed, a whole directory as one. */
  removed?: number
}

/** A check of what was restored. */
export interface RestoredCheck {
  name: string
  status: CheckStatus
  detail: string
}

export interface VerifiedBackup {
  id: string
  source: string
  /** `untrusted`: nothing is wrong with its bytes, but it is not ours. */
  status: ProofStatus | 'untrusted'
  level: 'stored' | 'content' | 'drill'
  findings: { part: string; problem: string }[]
  /** Ids that cannot be restored because of these findings; those that also stand on a `cause` only there. */
  affects: string[]
  /** The damaged backup on which this damaged one stands, and that names all that depends on it. */
  cause?: string
  drill?: { restore_ms: number; checks: RestoredCheck[] }
}

export interface VerifiedRecovery {
  repository: string
  /** `newer`: it calls itself later than this program, which cannot judge it. */
  status: 'genuine' | 'newer' | 'untrusted'
  edition: number
  /** Of recover.mjs; null where it is missing. */
  sha256: string | null
}

export interface VerifyResult {
  command: 'verify'
  results: VerifiedBackup[]
  /** Of each repository what recovers it without this program; absent where nothing was looked at. */
  recovery?: VerifiedRecovery[]
  /** Absent when there is nothing. */
  concerns?: Concern[]
}

/** What a verify would read; nothing is read, kept or recorded. */
export interface VerifyPreview extends VerifyResult {
  dry_run: true
  plan: {
    source: string
    repository: string
    /** Ids to check, parents first. */
    backups: string[]
    /** Bytes of their parts as stored. */
    bytes_stored: number
    /** Whether archived WAL is checked too. */
    wal: boolean
    /** Ids that would be restored into scratch space. */
    drill: string[]
  }[]
}

export interface RestoreResult {
  command: 'restore' | 'pitr restore'
  id: string | null
  target: string
  captured_at: string | null
  /** Where the data that was replaced lies now, or null when nothing was. */
  previous: string | null
  /** The exact command that brings it back, or null. */
  undo: string | null
  checks: RestoredCheck[]
  /** What of a tree could not be restored, or is not as it was, a sentence each: its data is there all the same. */
  problems?: string[]
  /** What was restored, where that was a part of the backup. */
  part?: PartCounts
  /** What a merge did. */
  merged?: MergeCounts
  duration_ms: number
}

/** What prune did, or would do, with the WAL of one system. */
export interface PrunedWal {
  source: string
  system_identifier: string
  /** The segment that the kept WAL begins with; null when all of it is kept, or none. */
  keep_from: string | null
  /** Segments, and the bytes of everything that goes with them; names of the first and the last segment. */
  delete: { segments: number; bytes: number; from: string | null; to: string | null }
  reasons: string[]
}

/** What prune decided of one backup, in one repository. */
export interface PruneDecision {
  id: string
  source: string
  repository: string
  reasons: string[]
}

export interface PruneResult {
  command: 'prune'
  dry_run: boolean
  keep: PruneDecision[]
  delete: PruneDecision[]
  /** One entry for each system whose WAL is archived. */
  wal: PrunedWal[]
  /** Of backups and WAL. */
  bytes_freed: number
  /** Only of a dry run: what would be freed, the small files that describe a backup aside. */
  bytes_to_free?: number
  /** Backups that are not ours: they took no place of ours, and prune left them alone. */
  untrusted: (PruneDecision & Untrusted)[]
  /** Damaged backups, and those that damage makes unrestorable: prune left them alone. */
  problems: ListedProblem[]
  /** Sources that could not be pruned, or not to the end: the command ends with 3. When all failed, prune throws. */
  failures: Failure[]
}

export interface PointsResult {
  command: 'pitr points'
  source: string
  points: { id: string; at: string }[]
  /** In these every instant can be restored; of clusters with the timeline that is followed. */
  windows: { from: string; to: string; timeline?: number }[]
  /** Of clusters: what only `--timeline N` reaches. */
  branches?: { from: string; to: string; timeline: number }[]
  /** What only backups of a damaged cluster lead to: `--allow-damaged` reaches it. */
  of_damaged?: { from: string; to: string; timeline: number }[]
  /** Of clusters: where a window ends although the WAL goes on, and why. */
  breaks?: {
    reason: 'clock_set_back' | 'wal_level_minimal' | 'wal_damaged'
    timeline: number
    /** The first record after it. */
    lsn: string
    /** Of a clock that was set back: the times that came twice. */
    from?: string
    to?: string
  }[]
}
