import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { chainOf } from '../chain-members.js'
import { lockOptions, withLocks } from '../locked.js'
import { newestOf, openChain, openSelected } from '../sealing/open-backup.js'
import { reselect, type Selected, selectBackup } from '../select.js'
import { withStateScratch } from '../state-directory.js'
import { areComparable, digestsOf } from './content.js'
import { diffDatabases } from './diff-databases.js'
import { diffTrees } from './diff-trees.js'
import type { DiffEntry, DiffResult } from './results.js'
import type { Side, Sides } from './side.js'

export interface DiffRequest {
  repositories: readonly RepositorySettings[]
  /** Ids, prefixes of ids, or a source's name for its latest. */
  before: string
  after: string
  /** Only these entries, as `--include` of a restore has them. */
  pattern: string | undefined
}

/**
 * What differs between two backups of a source, told from lists of entries and digests of blocks; no content is read.
 *
 * @throws NexusError `usage` (`sources_differ`, `option_of_files`), `not-found`, `failed` (`not_comparable`), `damage`
 */
export async function diff(
  context: Context,
  { repositories, before, after, pattern }: DiffRequest,
): Promise<{ result: DiffResult; entries: DiffEntry[] }> {
  const [first, second] = [
    await selectBackup(context, repositories, { backup: before }),
    await selectBackup(context, repositories, { backup: after }),
  ]
  assertSameSource(first, second)
  if (pattern !== undefined && second.manifest.tree === undefined) {
    throw new NexusError(
      'usage',
      'option_of_files',
      `${second.manifest.source} is a database: it has no files to choose`,
      {
        hint: `leave the pattern out: nexus-backup diff ${first.manifest.id} ${second.manifest.id}`,
      },
    )
  }
  const options = lockOptions(context, `diff ${second.manifest.source}`)
  const compare = () =>
    withStateScratch(context.stateDirectory, async scratch => {
      const sides = await sidesOf(context, first, second, scratch)
      try {
        return second.manifest.tree === undefined ? diffDatabases(sides) : await diffTrees(sides, pattern)
      } finally {
        sides.before.table?.close()
        sides.after.table?.close()
      }
    })
  if (first.room === second.room) return withLocks(first.room, [['delete', 'shared']], options, compare)
  return withLocks(first.room, [['delete', 'shared']], options, () =>
    withLocks(second.room, [['delete', 'shared']], options, compare),
  )
}

async function sidesOf(context: Context, first: Selected, second: Selected, scratch: string): Promise<Sides> {
  const [before, after] = [await sideOf(context, first), await sideOf(context, second)]
  if (!areComparable(before.opened, after.opened)) return { before, after }
  if (before.opened.manifest.id === after.opened.manifest.id) return { before, after }
  context.progress({ phase: `${after.opened.manifest.source}: reading indexes`, done: 0, total: 2, unit: 'items' })
  const then = await digestsOf(before.room, before.chain, scratch)
  try {
    return {
      before: { ...before, table: then },
      after: { ...after, table: await digestsOf(after.room, after.chain, scratch) },
    }
  } catch (error) {
    then.close()
    throw error
  }
}

async function sideOf(context: Context, selected: Selected): Promise<Side> {
  const { room, manifest, survey } = await openSelected(context, await reselect(context, selected))
  const members = chainOf(manifest, new Map(survey.manifests.map(member => [member.id, member])))
  const chain = await openChain(context, room, members)
  return { room, chain, opened: newestOf(chain), table: null }
}

function assertSameSource({ manifest: before }: Selected, { manifest: after }: Selected): void {
  if (before.source === after.source && before.kind === after.kind) return
  const message = `${before.id} is of ${before.source} (${before.kind}), and ${after.id} of ${after.source} (${after.kind})`
  throw new NexusError('usage', 'sources_differ', message, {
    hint: `name two backups of one source: nexus-backup list ${before.source}`,
  })
}
