import { NexusError } from '../../errors.js'
import type { Manifest } from '../../repository/manifest.js'
import type { Repository } from '../../repository/types.js'
import type { CreatePlan } from './create-plan.js'
import type { ProbedSource } from './source-work.js'

/** Room that manifests, indexes and the file system's own bookkeeping want in any case. */
const MARGIN_BYTES = 1024 * 1024

/**
 * Refuses to begin what cannot end: a full disk helps nobody find the cause. The last backup of the same type tells
 * best what is needed; before there is one, a tenth of the source, the best that compression does to a database. Outside
 * WAL mode a copy of the source lies there meanwhile.
 *
 * @throws NexusError `failed` (`disk_full`), `refused` (`object_too_large`)
 */
export async function assertRoom(
  repository: Repository,
  plan: CreatePlan,
  manifests: readonly Manifest[],
  { size, staged }: Pick<ProbedSource, 'size' | 'staged'>,
): Promise<void> {
  // The source's own capture tells, and asks then.
  if (size === null) return
  repository.storage.assertFits?.(size)
  const free = await repository.storage.freeBytes()
  if (free === undefined) return
  const earlier = manifests.findLast(({ type }) => type === plan.type)
  const unknown = plan.type === 'full' ? size / 10 : 0
  const needed = MARGIN_BYTES + staged + (earlier === undefined ? unknown : earlier.bytes_stored)
  if (free >= needed) return
  const [have, want] = [free, needed].map(bytes => `${Math.floor(bytes / 1e6)} MB`)
  throw new NexusError(
    'failed',
    'disk_full',
    `${repository.location} has ${have} free and this backup needs about ${want}`,
    {
      hint: 'free space there, or look at what retention would delete: nexus-backup prune --dry-run',
    },
  )
}
