import type { BigIntStats } from 'node:fs'

/**
 * Recognizes directories of this program, which never belong into a backup: a repository that backs itself up grows by
 * its own size with every run, and both it and the state directory change while they are read.
 */
export interface OwnDirectories {
  /** What this directory is, in words; null when it is none of ours. */
  recognize(directory: { stats: BigIntStats; entries: readonly { name: string }[] }, location: string): string | null
  /** The directory of ours that a real path is or lies in. */
  around(location: string): { path: string; what: string } | null
}

/** That nothing is ours. */
export const nothingOwn: OwnDirectories = { recognize: () => null, around: () => null }
