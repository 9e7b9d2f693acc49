import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Context } from '../../context.js'
import { errnoOf, messageOf, NexusError } from '../../errors.js'
import type { DigestTable } from '../../image/digest-table.js'
import { chainTable } from '../../image/restore-file.js'
import { type LoadedTree, loadTree } from '../../image/tree/tree.js'
import type { Manifest } from '../../repository/manifest.js'
import type { SourceRoom } from '../../repository/types.js'
import { chainOf, memberOf, treePartOf } from '../chain-members.js'
import { changeKnown, memoryOf } from '../known-backups.js'
import { type OpenManifest, openBackup, openChain } from '../sealing/open-backup.js'
import { keptTree } from '../trees/tree-part.js'
import type { BackUpTask } from './back-up.js'
import type { CreatePlan } from './create-plan.js'
import { DigestCache } from './digest-cache.js'
import { ParentMemory } from './parent-memory.js'

/** The seed of a chain's digests: drawn anew by its full. */
export function digestSeedOf({ parent }: CreatePlan): string {
  return parent?.digest_seed ?? randomBytes(8).toString('hex')
}

/**
 * The digests of the backup to compare with: from the cache, else from the indexes of its chain.
 *
 * @throws NexusError `damage` when they do not lead to the parent's image digest
 */
export async function parentDigests(task: BackUpTask, parent: Manifest, scratch: string): Promise<DigestTable> {
  const cached = cacheFor(task.context, task.room, task.source.name).load(parent)
  if (cached !== null) return cached
  const manifests = new Map(task.history.manifests.map(manifest => [manifest.id, manifest]))
  const chain = await openChain(task.context, task.room, chainOf(parent, manifests))
  const members = chain.map(member => memberOf(task.room, member))
  const table = await chainTable(members, join(scratch, 'parent-digests'))
  if (table.imageDigest() === parent.image_digest) return table
  table.close()
  throw new NexusError('damage', 'chain_damaged', `the block indexes of ${parent.id} do not lead to its image digest`, {
    hint: `find the damage with: nexus-backup verify ${task.source.name}; go on with: nexus-backup create ${task.source.name} --type full`,
  })
}

/** A backup's list of entries: this host's memory of it, which needs no key, else the stored one. */
export function knownTree(context: Context, room: SourceRoom, manifest: Manifest): Promise<LoadedTree> {
  return keptTree(room, manifest.id, async () => {
    const remembered = manifest.encryption && (await memoryFor(context, room, room.name).tree(manifest))
    return remembered ?? loadTree(...treePartOf(room, await openBackup(context, room.repository, manifest)))
  })
}

/** A committed backup, as it is stored and as it was before. */
export interface Committed {
  stored: Manifest
  manifest: OpenManifest
  tablePath: string
  /** A copy of its list of entries, where the stored one is sealed. */
  treePath: string | null
}

/** Keeps for the next backup what it will compare with; a diff will want the full's again. */
export async function keepForNext(task: BackUpTask, committed: Committed): Promise<void> {
  const { context, history, room, source } = task
  const { stored, manifest, tablePath, treePath } = committed
  const fulls = history.manifests.filter(({ type }) => type === 'full').map(({ id }) => id)
  await cacheFor(context, room, source.name).store(manifest.id, tablePath, fulls.slice(-1))
  if (stored.encryption === undefined) return
  await changeKnown(context, room.repository.id, source.name, known => ({ ...known, [stored.id]: memoryOf(stored) }))
  try {
    await memoryFor(context, room, source.name).store(stored, manifest, treePath)
  } catch (error) {
    // The backup is made; only the next one will be larger than it had to be.
    if (errnoOf(error) === undefined) throw error
    context.warn(`${source.name}: the state directory cannot keep what an increment needs: ${messageOf(error)}`)
  }
}

export function cacheFor({ stateDirectory }: Context, { repository }: SourceRoom, source: string): DigestCache {
  return new DigestCache(stateDirectory, repository.id, source)
}

/** What this host remembers of its own encrypted backups; it lies beside the digests. */
export function memoryFor({ stateDirectory }: Context, { repository }: SourceRoom, source: string): ParentMemory {
  return new ParentMemory(stateDirectory, ['digests', repository.id, source])
}
