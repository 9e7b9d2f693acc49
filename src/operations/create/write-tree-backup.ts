import { join } from 'node:path'
import { DigestTable } from '../../image/digest-table.js'
import { type StoreTreeSettings, storeTree } from '../../image/tree/store-tree.js'
import type { Tree } from '../../image/tree/tree.js'
import { makeBackupId, partNameFor } from '../../repository/layout.js'
import type { Manifest, ManifestPart } from '../../repository/manifest.js'
import type { SealedWriter } from '../../repository/sealed/sealed-backup.js'
import type { TreeCapture } from '../../sources/tree-capture.js'
import type { OpenedBackup } from '../sealing/open-backup.js'
import { releaseTree } from '../trees/tree-part.js'
import type { BackUpTask } from './back-up.js'
import { digestSeedOf, knownTree, parentDigests } from './chain-digests.js'
import { commitBackup } from './commit-backup.js'
import { type CopyingWriter, copyingWriter } from './copying-writer.js'
import { manifestOf, type StoredImage } from './manifest-of.js'
import { assertSound } from './sound-source.js'

interface CapturedTree {
  capture: TreeCapture
  scratch: string
}

/** Writes a backup of a captured tree and commits it. @throws NexusError `damage` when the source fails its checks */
export async function writeTreeBackup(task: BackUpTask, captured: CapturedTree): Promise<OpenedBackup> {
  const { context, plan, source } = task
  const { capture } = captured
  const id = makeBackupId(capture.begunAt, plan.type)
  return commitBackup(task, id, async writer => {
    const { tablePath, treePath, ...image } = await storeImage(task, captured, writer)
    const outcome = await capture.finish()
    assertSound(task, capture.name, outcome.checks)
    for (const warning of outcome.warnings) context.warn(`${source.name}: ${warning}`)
    const manifest = manifestOf(task, { id, ...image, ...outcome, versions: capture.versions })
    return { manifest, tablePath, treePath }
  })
}

async function storeImage(
  task: BackUpTask,
  { capture, scratch }: CapturedTree,
  writer: SealedWriter,
): Promise<StoredImage & { tablePath: string; treePath: string | null }> {
  const { context, plan, pool, source } = task
  const digestSeed = digestSeedOf(plan)
  const before = plan.parent === null ? null : await parentOf(task, plan.parent, scratch)
  const tablePath = join(scratch, 'digests')
  const table = DigestTable.create(tablePath, 0)
  let copy: CopyingWriter | undefined
  try {
    const input = await capture.open(before?.tree ?? null)
    const part = await writer.create(before === null ? partNameFor(capture.name, '.tar.zst') : 'blocks.zst')
    const index = await writer.create('blocks.idx')
    const treePath = writer.key === null ? null : join(scratch, 'tree')
    const tree = await writer.create('tree.jsonl.zst')
    if (treePath !== null) copy = copyingWriter(tree, treePath)
    const copied = copy ?? tree
    let done = 0
    const advance = (bytes: number) => {
      done += bytes
      context.progress({ phase: `${source.name}: ${plan.type} backup`, done, total: undefined })
    }
    const digest = { algorithm: source.digestAlgorithm, seed: digestSeed }
    const settings: StoreTreeSettings = { pool, digest, work: { signal: context.signal, advance } }
    const stored = await storeTree(input, before, { part, index, tree: copied, table }, settings)
    const parts: ManifestPart[] = [
      { ...(await part.close()), role: before === null ? 'image' : 'blocks' },
      { ...(await index.close()), role: 'index' },
      { ...(await copied.close()), role: 'tree' },
    ]
    return {
      parts,
      files: [],
      tree: { block_size: input.blockSize, entries: stored.entries, files: stored.files },
      bytesSource: stored.bytes,
      blocksTotal: stored.rows,
      blocksStored: stored.blocks,
      digestSeed,
      imageDigest: table.imageDigest(),
      tablePath,
      treePath,
    }
  } finally {
    before?.table.close()
    table.close()
    releaseTree(task.room)
    await copy?.release()
  }
}

async function parentOf(
  task: BackUpTask,
  parent: Manifest,
  scratch: string,
): Promise<{ tree: Tree; table: DigestTable }> {
  const tree = await knownTree(task.context, task.room, parent)
  return { tree, table: await parentDigests(task, parent, scratch) }
}
