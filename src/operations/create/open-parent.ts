import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import type { Manifest } from '../../repository/manifest.js'
import type { Sealing } from '../../repository/sealed/sealed-backup.js'
import type { SourceRoom } from '../../repository/types.js'
import { openBackup } from '../sealing/open-backup.js'
import { cacheFor, memoryFor } from './chain-digests.js'
import type { CreatePlan } from './create-plan.js'

/**
 * The plan with a parent whose digests are known: from this host's memory, which needs no key, else by opening it. What
 * cannot be known makes it a full, and so does a parent that is not encrypted in a repository that is.
 */
export async function planWithOpenParent(
  context: Context,
  room: SourceRoom,
  plan: CreatePlan,
  sealing: Sealing | null,
): Promise<CreatePlan> {
  const { parent } = plan
  if (parent === null || sealing === null) return plan
  if (parent.encryption === undefined) return madeFull(plan, 'the repository is encrypted since the last backup')
  const remembered = await recalled(context, room, parent)
  if (remembered !== undefined) return { ...plan, parent: remembered }
  try {
    return { ...plan, parent: (await openBackup(context, room.repository, parent)).manifest }
  } catch (error) {
    if (!(error instanceof NexusError) || (error.code !== 'key_missing' && error.code !== 'key_wrong')) throw error
    return madeFull(plan, `the state directory does not know ${parent.id} and no key here opens it`)
  }
}

/** A parent of which this host has kept everything that an increment needs. */
async function recalled(context: Context, room: SourceRoom, parent: Manifest): Promise<Manifest | undefined> {
  const memory = memoryFor(context, room, room.name)
  const manifest = await memory.recall(parent)
  if (manifest === undefined) return undefined
  const table = cacheFor(context, room, room.name).load(manifest)
  table?.close()
  if (table === null) return undefined
  return parent.tree === undefined || (await memory.tree(parent)) !== undefined ? manifest : undefined
}

function madeFull(plan: CreatePlan, reason: string): CreatePlan {
  return { type: 'full', parent: null, reason, warnings: [...plan.warnings, `made a full: ${reason}`] }
}
