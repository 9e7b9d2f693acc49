import { rmSync } from 'node:fs'
import type { Context } from '../../context.js'
import { type RestoreTreeTarget, restoreTree } from '../../image/tree/restore-tree.js'
import type { Tree } from '../../image/tree/tree.js'
import { WorkerPool } from '../../image/workers/pool.js'
import { chainOf, memberOf } from '../chain-members.js'
import { assertImageDigest } from '../image-digest.js'
import { newestOf, openChain } from '../sealing/open-backup.js'
import type { Selected } from '../select.js'
import { treeOf } from './tree-part.js'
import { assertTreeSpace } from './tree-space.js'

/**
 * Writes the tree of a backup into a new directory of the caller's, every byte of the chain checked on the way, and
 * makes it durable. When it fails, what is there is incomplete: the caller removes it.
 *
 * @throws NexusError `damage` when anything stored is damaged, `failed` (`disk_full`)
 */
export async function writeTree(
  context: Context,
  selected: Selected,
  target: Omit<RestoreTreeTarget, 'owner'> & Partial<Pick<RestoreTreeTarget, 'owner'>>,
): Promise<Tree> {
  const { manifest, room, survey } = selected
  const chain = chainOf(manifest, new Map(survey.manifests.map(member => [member.id, member])))
  const opened = await openChain(context, room, chain)
  const members = opened.map(member => memberOf(room, member))
  const tree = await treeOf(room, newestOf(opened))
  await assertTreeSpace(tree, target)
  const scratch = `${target.directory}.digests`
  try {
    await assertImageDigest(opened, members, scratch)
  } finally {
    rmSync(scratch, { force: true })
  }
  const total = chain.reduce((sum, { bytes_stored }) => sum + bytes_stored, 0)
  let done = 0
  const advance = (bytes: number) => {
    done += bytes
    context.progress({ phase: `${manifest.source}: restoring`, done, total })
  }
  const pool = WorkerPool.start(context.signal)
  try {
    const { owner = ownerAsCaptured } = target
    await restoreTree(members, tree, { ...target, owner }, { pool, work: { signal: context.signal, advance } })
  } finally {
    await pool.stop()
  }
  return tree
}

/** Only root may give files away. */
function ownerAsCaptured({ uid, gid }: { uid: number; gid: number }): { uid: number; gid: number } | null {
  return process.geteuid?.() === 0 ? { uid, gid } : null
}
