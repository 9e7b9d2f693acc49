import type { TreeEntry } from '../../image/tree/types.js'
import type { Manifest } from '../../repository/manifest.js'

/** An entry of a backup as it is listed. */
export interface ListedFile {
  /** Absolute; of a cluster relative to its data directory. Bytes that are not UTF-8 stand as U+DC80 to U+DCFF. */
  path: string
  type: TreeEntry['type']
  /** Four octal digits. */
  mode: string
  uid: number
  gid: number
  /** Names where they were captured; empty when unknown. */
  owner: string
  group: string
  /** Bytes; 0 for all but files. */
  size: number
  /** ISO 8601 UTC, to the millisecond. */
  modified: string
  /** Target of a symbolic link, or the path of which it is a hard link; absent for the rest. */
  link?: string
}

/** Entries of files have absolute paths, those of a cluster lie in its data directory. */
export function pathOf({ kind }: Pick<Manifest, 'kind'>, path: string): string {
  return kind === 'files' ? `/${path}` : path
}

/** Absolute paths that patterns may be relative to. A manifest is input from outside. */
export function patternRoots({ kind, facts }: Manifest): string[] {
  if (kind !== 'files') return ['/']
  const { roots } = facts
  if (!Array.isArray(roots)) return []
  return roots.flatMap(root => (typeof root?.path === 'string' ? [root.path] : []))
}

export function listedFile(manifest: Pick<Manifest, 'kind'>, entry: TreeEntry): ListedFile {
  const { path, type, mode, uid, gid, owner, group, size, mtime, link } = entry
  const target = type === 'hardlink' ? pathOf(manifest, link) : link
  return {
    path: pathOf(manifest, path),
    type,
    mode: mode.toString(8).padStart(4, '0'),
    uid,
    gid,
    owner,
    group,
    size,
    modified: new Date(mtime * 1000).toISOString(),
    ...(target === '' ? {} : { link: target }),
  }
}
