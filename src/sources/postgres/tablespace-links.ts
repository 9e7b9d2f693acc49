import { open, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { giveLink, type Owner } from '../../system/ownership.js'

/** A tablespace and where it lies now. */
export interface TablespaceLink {
  oid: number
  /** Absolute directory. */
  path: string
}

/** Where an image holds the files of a tablespace. */
export function tablespaceEntry(oid: number): string {
  return `pg_tblspc/${oid}`
}

/**
 * Makes the links of a restored cluster to its tablespaces, and the `tablespace_map` from which the server makes them
 * again when it begins recovery (PostgreSQL xlogrecovery.c, read_tablespace_map).
 *
 * @param directory nobody else can reach it yet
 * @param owner null: ours
 */
export async function linkTablespaces(
  directory: string,
  tablespaces: readonly TablespaceLink[],
  owner: Owner | null,
): Promise<void> {
  if (tablespaces.length === 0) return
  for (const { oid, path } of tablespaces) {
    const link = join(directory, tablespaceEntry(oid))
    await symlink(path, link)
    if (owner !== null) giveLink(link, owner)
  }
  const map = join(directory, 'tablespace_map')
  const handle = await open(map, 'w', 0o600)
  try {
    await handle.writeFile(tablespaceMap(tablespaces))
    if (owner !== null) await handle.chown(owner.uid, owner.gid)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** The text of a `tablespace_map`; line ends and backslashes in a path are escaped (PostgreSQL do_pg_backup_start). */
export function tablespaceMap(tablespaces: readonly TablespaceLink[]): string {
  return tablespaces.map(({ oid, path }) => `${oid} ${path.replace(/[\\\n\r]/g, '\\$&')}\n`).join('')
}
