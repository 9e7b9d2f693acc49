import type { SourceKind } from '../repository/manifest.js'

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

/** A repository, validated. */
export interface RepositorySettings {
  name: string
  /** Absolute directory. Object stores come with their own issue. */
  path: string
}

/** A SQLite source, validated: every path absolute, every default filled in. */
export interface SqliteSourceSettings {
  kind: 'sqlite'
  name: string
  /** Absolute path of the database file. */
  path: string
  repository: RepositorySettings
  /** Content checks: SQL run on the captured snapshot and again on what was restored. */
  checks: string[]
  /** systemd unit stopped and started around an in-place restore. */
  service: string | null
  keep: KeepPolicy
  chain: ChainPolicy
  digestAlgorithm: 'xxh3-128' | 'sha256-128'
}

export type SourceSettings = SqliteSourceSettings

/** Everything a run needs to know, whether it came from a file or from flags. */
export interface Settings {
  timezone: string
  stateDirectory: string
  repositories: RepositorySettings[]
  sources: SourceSettings[]
  /** The configuration file read, or null for a run from flags alone. */
  file: string | null
}

/** Kinds that this version can protect. */
export const supportedKinds: readonly SourceKind[] = ['sqlite']
