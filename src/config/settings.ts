import type { RecipientSettings } from '../keys/recipient.js'
import type { SourceKind } from '../repository/manifest.js'
import type { RepositoryPlace } from '../repository/storage/place.js'

/** Retention rules of one source; a backup is kept when any rule wants it. */
export interface KeepPolicy {
  last?: number
  hourly?: number
  daily?: number
  weekly?: number
  monthly?: number
  yearly?: number
  /** Milliseconds. */
  within?: number
  /** Milliseconds for which every instant of a cluster stays restorable: WAL is kept that long (design section 6, prune). */
  pitr?: number
}

/** When `--type auto` starts a new chain (design section 6, create). */
export interface ChainPolicy {
  /** Milliseconds since the last full. Default 7 days. */
  maxAge: number
  /** Members of a chain. Default 100. */
  maxLength: number
  /** Stored bytes of the increments over stored bytes of the full. Default 0.5. */
  maxRatio: number
}

export const defaultChainPolicy: ChainPolicy = { maxAge: 7 * 24 * 3600 * 1000, maxLength: 100, maxRatio: 0.5 }

/** Who can open an encrypted repository, and how old their keys may become. */
export interface EncryptionSettings {
  recipients: readonly RecipientSettings[]
  /** Milliseconds after which a recipient's key is warned about. Default 90 days. */
  maxKeyAge: number
}

export const defaultMaxKeyAge = 90 * 24 * 3600 * 1000

/** A repository, validated: its place, and how sources name it. */
export interface RepositorySettings extends RepositoryPlace {
  name: string
  /** Wanted; where it is left out, the repository itself decides. */
  encryption?: EncryptionSettings
  /** Sources of which it only holds copies: who reads them reads the repository they are backed up to. */
  copyOf?: ReadonlySet<string>
}

/** A further repository that a source's backups are copied to, with a retention of its own. */
export interface CopySettings {
  repository: RepositorySettings
  keep: KeepPolicy
}

/** A program that is run without a shell. */
export interface HookCommand {
  /** Its absolute path, and its arguments. */
  command: readonly string[]
  /** Milliseconds that it may take. Default 5 minutes. */
  timeout: number
  /** Name of the user as whom it is run; left out for the user of the command. */
  user?: string
}

export const defaultHookTimeout = 5 * 60_000

/** What is run around the backup of a source; one of both at least. */
export interface HookSettings {
  before: HookCommand | null
  after: HookCommand | null
  /** The configuration file that names them. */
  file: string | null
}

/** What every source has, validated: every path absolute, every default filled in. */
interface CommonSettings {
  name: string
  repository: RepositorySettings
  copies: CopySettings[]
  /** Content checks: SQL queries. */
  checks: string[]
  /** systemd unit stopped and started around an in-place restore. */
  service: string | null
  /** Whether it is stopped while a backup is made, too. Default false. */
  stopService?: boolean
  hooks?: HookSettings
  keep: KeepPolicy
  chain: ChainPolicy
  digestAlgorithm: 'xxh3-128' | 'sha256-128'
}

export interface SqliteSourceSettings extends CommonSettings {
  kind: 'sqlite'
  /** Absolute path of the database file. */
  path: string
  /** Whether its file may have other names; a log beside one of those is not backed up. Default false. */
  allowOtherNames?: boolean
  /** How its backups are checked when they are made; default: by what is read of it. */
  check?: 'integrity' | 'quick' | 'none'
}

/** A whole cluster, physical. */
export interface PostgresSourceSettings extends CommonSettings {
  kind: 'postgres'
  /** libpq connection string; empty: what libpq finds in its environment. Never holds a password. */
  connection: string
  /** Absolute; null: the server is asked. */
  dataDirectory: string | null
  /** Where PostgreSQL's programs lie; null: they are looked for by the server's version. */
  binDirectory: string | null
  /** Bytes a second that the server sends at most. Default: as many as it can. */
  maxRate?: number
  /** How the server makes the checkpoint that a backup begins with. Default fast. */
  checkpoint?: 'fast' | 'spread'
  /** Whether the server's own log files are backed up. Default false. */
  serverLogs?: boolean
  /** Whether archived WAL goes to the copies too, and whether the server waits for that. Default: `copy` brings it there. */
  walCopies?: 'sync' | 'async'
}

/** Directories and single files. */
export interface FilesSourceSettings extends CommonSettings {
  kind: 'files'
  /** Absolute, none inside another. */
  paths: string[]
  /** Patterns of what is left out, and of what is taken all the same. */
  exclude: string[]
  include: string[]
  /** What of a directory's content is left out besides; as in a walk's rules. */
  oneFileSystem?: boolean
  excludeCaches?: boolean
  excludeIfPresent?: string[]
  /** Whether SQLite databases among them are captured as databases. Default false. */
  sqlite?: boolean
}

export type SourceSettings = SqliteSourceSettings | PostgresSourceSettings | FilesSourceSettings

/** Everything a run needs to know, whether it came from a file or from flags. */
export interface Settings {
  timezone: string
  stateDirectory: string
  /** Those that commands look into: what serves for copies alone is asked only when it is named. */
  repositories: RepositorySettings[]
  /** The others. */
  copyRepositories: RepositorySettings[]
  sources: SourceSettings[]
  /** What may open encrypted repositories: from flags and environment, then from the configuration. */
  means: RecipientSettings[]
  /** The configuration file read, or null for a run from flags alone. */
  file: string | null
}

/** Kinds that this version can protect. */
export const supportedKinds: readonly SourceKind[] = ['sqlite', 'postgres', 'files']
