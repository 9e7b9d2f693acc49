import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { isTreePart } from '../../image/tree/part-of-tree.js'
import type { Tree } from '../../image/tree/tree.js'
import type { Manifest } from '../../repository/manifest.js'
import { lockOptions, withLocks } from '../locked.js'
import type { PartCounts } from '../results.js'
import { openBackup, openSelected } from '../sealing/open-backup.js'
import { reselect, selectBackup } from '../select.js'
import { chosenPart, countsOf } from '../trees/chosen-part.js'
import { treeOf } from '../trees/tree-part.js'
import { type ListedFile, listedFile } from './listed-file.js'

export interface ListFilesRequest {
  repositories: readonly RepositorySettings[]
  /** A backup's id or prefix, or a source's name for its latest. */
  backup: string
  /** As in a source's `exclude`; a directory is taken with what it holds. All without it. */
  pattern: string | undefined
}

/** What a backup holds. */
export interface ListFilesResult {
  command: 'list'
  id: string
  source: string
  repository: string
  captured_at: string
  /** What is listed. */
  counts: PartCounts
  /** Made anew each time: there may be millions. */
  files(): Iterable<ListedFile>
}

/**
 * Lists the entries of a backup of files, or of a cluster, in the order in which it has them.
 *
 * @throws NexusError `not-found` when there is no such backup or nothing matches; `usage` (`holds_no_files`) of a
 *   database; `damage` when the list is not what was stored
 */
export async function listFiles(
  context: Context,
  { repositories, backup, pattern }: ListFilesRequest,
): Promise<ListFilesResult> {
  const found = await selectBackup(context, repositories, { backup })
  assertHoldsFiles(found.manifest)
  return withLocks(found.room, [['delete', 'shared']], lockOptions(context, `list ${backup}`), async () => {
    const { room, manifest } = await openSelected(context, await reselect(context, found))
    const whole = await treeOf(room, await openBackup(context, room.repository, manifest))
    const tree = pattern === undefined ? whole : chosenPart(whole, manifest, { include: [pattern], exclude: [] })
    return {
      command: 'list',
      id: manifest.id,
      source: manifest.source,
      repository: room.repository.location,
      captured_at: manifest.captured_at,
      counts: isTreePart(tree) ? countsOf(tree) : wholeCounts(tree, manifest),
      *files() {
        for (const entry of tree.entries()) yield listedFile(manifest, entry)
      },
    }
  })
}

function wholeCounts(tree: Tree, { bytes_source: bytes }: Manifest): PartCounts {
  return { entries: tree.size, files: tree.count, bytes }
}

/** @throws NexusError `usage` (`holds_no_files`) */
export function assertHoldsFiles({ id, source, tree }: Manifest): void {
  if (tree !== undefined) return
  throw new NexusError('usage', 'holds_no_files', `${id} is of the database ${source}, and holds no list of files`, {
    hint: `see its backups: nexus-backup list ${source}`,
  })
}
