import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { NexusError } from '../../errors.js'
import type { DigestTable } from '../../image/digest-table.js'
import { chainTable } from '../../image/restore-file.js'
import type { Manifest } from '../../repository/manifest.js'
import { chainOf, memberOf } from '../chain-members.js'
import type { BackUpTask } from './back-up.js'
import type { CreatePlan } from './create-plan.js'
import { DigestCache } from './digest-cache.js'

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
  const cached = cacheFor(task).load(parent)
  if (cached !== null) return cached
  const manifests = new Map(task.history.manifests.map(manifest => [manifest.id, manifest]))
  const chain = chainOf(parent, manifests).map(member => memberOf(task.room, member))
  const table = await chainTable(chain, join(scratch, 'parent-digests'))
  if (table.imageDigest() === parent.image_digest) return table
  table.close()
  throw new NexusError('damage', 'chain_damaged', `the block indexes of ${parent.id} do not lead to its image digest`, {
    hint: `find the damage with: nexus-backup verify ${task.source.name}; go on with: nexus-backup create ${task.source.name} --type full`,
  })
}

/** Keeps a committed backup's table for the next one; a diff will want the full's again. */
export async function keepDigests(task: BackUpTask, id: string, tablePath: string): Promise<void> {
  const fulls = task.history.manifests.filter(({ type }) => type === 'full').map(manifest => manifest.id)
  await cacheFor(task).store(id, tablePath, fulls.slice(-1))
}

function cacheFor({ context, room, source }: BackUpTask): DigestCache {
  return new DigestCache(context.stateDirectory, room.repository.id, source.name)
}
