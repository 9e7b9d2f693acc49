import type { KeepPolicy, RepositorySettings, SourceSettings } from '../config/settings.js'
import type { BackupType, SourceKind } from '../repository/manifest.js'
import type { PartCounts } from './results.js'

/** How thoroughly the source itself is checked at create. */
export type CheckLevel = 'integrity' | 'quick' | 'none'

export interface CreateRequest {
  sources: SourceSettings[]
  type: 'auto' | BackupType
  /** Undefined: as the source is configured. */
  check: CheckLevel | undefined
  /** Read every part back after writing and compare. */
  verify: boolean
  allowDamaged: boolean
  /** Go on although the files of a whole file system are missing since the last complete backup. */
  allowEmptied?: boolean
  /** Back up databases whose files have other names, as their setting of that name does. */
  allowOtherNames?: boolean
  /** Make the repository when its directory holds none. */
  init: boolean
  /** Owner of a repository made by `init`: `user` or `user:group`. */
  owner: string | undefined
  adopt: boolean
  label: string | null
  /** An ISO instant, `forever`, or null. */
  keepUntil: string | null
  dryRun: boolean
}

/** One source, from one repository to another. */
export interface CopyTask {
  source: string
  from: RepositorySettings
  to: RepositorySettings
}

export interface CopyRequest {
  tasks: CopyTask[]
  /** Make a repository that does not exist yet. */
  init: boolean
  dryRun: boolean
}

export interface ListRequest {
  repositories: RepositorySettings[]
  source: string | undefined
  all: boolean
}

export interface VerifyRequest {
  repositories: RepositorySettings[]
  /** For their content checks; a source that is not configured uses the checks in its manifests. */
  sources: SourceSettings[]
  /** Ids, prefixes of ids, or source names; empty means everything. */
  targets: string[]
  drill: boolean
}

/** How a server's restore_command calls this program. */
export interface RecoveryCalls {
  /** Absolute paths of Node and of the script. */
  program: readonly string[]
  /** Flags that say where configuration or repository lie (`--config FILE`, `--repo DIR`), absolute. */
  flags: readonly string[]
  /** Recovery takes WAL that is not ours too: of a backup that is restored with `--untrusted`. */
  untrusted?: boolean | undefined
}

/** Which entries of a files backup are wanted: patterns as in a source's `exclude`. */
export interface PartRules {
  /** A directory is taken with all that it holds; everything where there are none. */
  include: readonly string[]
  /** Left out all the same. */
  exclude: readonly string[]
}

/** What a merge does where something of the same name is there: `if-changed` goes by size and time, `if-newer` by time. */
export type OverwriteRule = 'always' | 'if-changed' | 'if-newer' | 'never'

export interface RestoreRequest {
  repositories: RepositorySettings[]
  /** A backup's id or prefix, or a source's name for its latest. */
  backup: string
  /** Where to: a path of the operator's, or the configured path of the source. */
  target: { kind: 'path'; path: string; force: boolean } | { kind: 'in-place'; source: SourceSettings }
  /** Configured content checks and service, when the source is configured. */
  source: SourceSettings | undefined
  /** `--at`, for `pitr restore` of a SQLite source: the newest capture not after it is chosen. */
  at: Date | undefined
  /** Restore a backup that is not ours; `backup` is its whole id. */
  untrusted?: boolean
  dryRun: boolean
  /** Name for what is replaced, from the plan that the operator saw; a new one is made where it is left out. */
  previous?: string | null
  /** What `planRestore` gave for this request: the backup that it chose is restored, and not looked for again. */
  plan?: RestorePlan
  /** Only a cluster in place needs it. */
  recovery?: RecoveryCalls
  /** Replace a database whose file has other names, as the source's setting of that name does. */
  allowOtherNames?: boolean
  /** Put content in place that fails its checks, as it was captured. */
  allowDamaged?: boolean
  /** Files and directories get the owner of this process and not the one that was captured. */
  noOwner?: boolean
  /** Only a part of a files backup, to a path. */
  part?: PartRules
  /** Put files into a directory that is there, and leave everything else in it alone. */
  merge?: { overwrite: OverwriteRule }
}

/** What a restore is going to do; printed first, and all that `--dry-run` does. */
export interface RestorePlan {
  id: string
  source: string
  captured_at: string
  /** Ids from the full to the chosen backup. */
  chain: string[]
  target: string
  in_place: boolean
  replaces: boolean
  /** Where the replaced file will lie. */
  previous: string | null
  service: string | null
  bytes: number
  /** It is merged into the directory that is there: only single files of it are replaced, and kept below `previous`. */
  merge?: OverwriteRule
  /** What it would do there: entries, of a directory that is not there each; `bytes_kept` of what is replaced stay beside it. */
  merging?: { created: number; replaced: number; left: number; bytes_kept: number }
  /** It undoes the merge that keeps what it replaced in this directory. */
  undoes?: string
  /** What is restored, where that is a part; `named` has its first entries that are no directories. */
  part?: PartCounts & { named: { path: string; type: string }[] }
}

/** A path that a restore with `--to PATH --force` wrote to; what it replaced lies beside it. */
export interface RestoredPath {
  kind: 'path'
  /** The source's name, which need not be configured. */
  name: string
  path: string
  /** Location of the repository that the run was given, for the journal. */
  repository: string
}

export interface RollbackRequest {
  /** What is rolled back: the live data of a source, or what stands at a path. */
  source: SourceSettings | RestoredPath
  dryRun: boolean
  /** As in a restore's request. */
  previous?: string | null
  allowOtherNames?: boolean
}

/** All that prune needs of a source, which need not be configured: only its policy must be known. */
export interface PruneSource {
  name: string
  repository: RepositorySettings
  keep: KeepPolicy
  /**
   * What it is in the configuration: another machine's source of the same name, or another kind, is left alone. Undefined
   * where somebody named the source.
   */
  kind?: SourceKind
}

export interface PruneRequest {
  sources: PruneSource[]
  dryRun: boolean
}
