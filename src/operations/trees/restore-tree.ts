import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import type { DigestTable } from '../../image/digest-table.js'
import { isTreePart } from '../../image/tree/part-of-tree.js'
import type { RestoreProblems } from '../../image/tree/restore-problems.js'
import { type RestoreTreeTarget, restoreTree } from '../../image/tree/restore-tree.js'
import type { Tree } from '../../image/tree/tree.js'
import { WorkerPool } from '../../image/workers/pool.js'
import { chainOf, memberOf } from '../chain-members.js'
import { assertImageDigest, withImageDigest } from '../image-digest.js'
import type { PartCounts, RestoreResult } from '../results.js'
import { newestOf, openChain } from '../sealing/open-backup.js'
import type { Selected } from '../select.js'
import { countsOf } from './chosen-part.js'
import { releaseTree, treeOf } from './tree-part.js'
import { assertTreeSpace } from './tree-space.js'

/** What was written, and what could not be. */
export interface WrittenTree {
  /** Entries of the backup. */
  size: number
  problems: RestoreProblems
  /** Where that was a part of the backup. */
  part?: PartCounts
}

/**
 * Writes the tree of a backup into a new directory of the caller's, every byte of the chain checked on the way, and
 * makes it durable. When it fails, what is there is incomplete: the caller removes it. What its place cannot take of
 * single entries is among the problems.
 *
 * @param target with `narrow`, which chooses what of the tree is written: of a part, only what is needed is read
 * @throws NexusError `damage` when anything stored is damaged, `failed` (`disk_full`)
 */
export async function writeTree(
  context: Context,
  selected: Selected,
  target: Omit<RestoreTreeTarget, 'owner'> &
    Partial<Pick<RestoreTreeTarget, 'owner'>> & { narrow?: ((tree: Tree) => Tree) | undefined },
): Promise<WrittenTree> {
  const { manifest, room, survey } = selected
  const chain = chainOf(manifest, new Map(survey.manifests.map(member => [member.id, member])))
  const opened = await openChain(context, room, chain)
  const whole = await treeOf(room, newestOf(opened))
  // The list of the newest is there already.
  const members = opened.map(member => {
    const read = memberOf(room, member)
    return member === newestOf(opened) ? { ...read, layout: async () => whole.layout } : read
  })
  const tree = target.narrow?.(whole) ?? whole
  await assertTreeSpace(tree, target)
  const part = isTreePart(tree) ? countsOf(tree) : undefined
  // Of a part nobody knows how much of what is stored is needed.
  const total = part === undefined ? chain.reduce((sum, { bytes_stored }) => sum + bytes_stored, 0) : undefined
  let done = 0
  const advance = (bytes: number) => {
    done += bytes
    context.progress({ phase: `${manifest.source}: restoring`, done, total })
  }
  const pool = WorkerPool.start(context.signal)
  try {
    const { owner = ownerAsCaptured } = target
    const work = { signal: context.signal, advance }
    const write = (table?: DigestTable) => {
      const settings = { pool, work, ...(table === undefined ? {} : { table }) }
      return restoreTree(members, tree, { ...target, owner }, settings)
    }
    const scratch = `${target.directory}.digests`
    if (part === undefined) {
      return { size: tree.size, problems: await withImageDigest(opened, members, scratch, write) }
    }
    // The blocks of a part are not all that the image digest is made of.
    await assertImageDigest(opened, members, scratch)
    return { size: tree.size, problems: await write(), part }
  } finally {
    releaseTree(room)
    await pool.stop()
  }
}

/** What a restore reports of a tree, whose problems are warnings too. */
export function outcomeOf(
  context: Context,
  source: string,
  written: WrittenTree | undefined,
): Pick<RestoreResult, 'checks' | 'part'> & { problems: string[] } {
  const problems = written?.problems.sentences() ?? []
  for (const problem of problems) context.warn(`${source}: ${problem}`)
  const left = written?.problems.missing.size ?? 0
  const entries = `${(written?.size ?? 0) - left} entries, every block as it was captured`
  const detail = left === 0 ? entries : `${entries}; ${left} are not restored`
  const part = written?.part === undefined ? {} : { part: written.part }
  return { checks: [{ name: 'restored', status: 'ok', detail }], problems, ...part }
}

/** For a tree that is of no use unless all of it is there. @throws NexusError `failed` (`restore_incomplete`) */
export function assertWhole({ problems }: WrittenTree): void {
  const [first] = problems.sentences()
  if (first === undefined) return
  throw new NexusError('failed', 'restore_incomplete', first, {
    hint: 'restore to a file system that keeps owners, modes and all names, as root or as the owner of the files',
  })
}

/** The owner of everything that is restored with `--no-owner`: whoever restores it. */
export function noOwner(): null {
  return null
}

/** Only root may give files away. */
function ownerAsCaptured({ uid, gid }: { uid: number; gid: number }): { uid: number; gid: number } | null {
  return process.geteuid?.() === 0 ? { uid, gid } : null
}
