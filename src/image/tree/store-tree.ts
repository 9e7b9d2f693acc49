import { NexusError } from '../../errors.js'
import { carryDigests } from '../digest-rows.js'
import type { DigestTable } from '../digest-table.js'
import { type StoreSettings, type StoreTarget, storeAll, storeChanged } from '../store.js'
import { type ByteSink, FRAME_BYTES, type Frame } from '../types.js'
import { NewTree } from './new-tree.js'
import { tarFrames } from './tar-frames.js'
import type { TreePaths } from './tree.js'
import { TreeWriter } from './tree-writer.js'
import type { TreeInput } from './types.js'

/** Bytes that a thread compares at a time: fewer messages than frames of 1 MiB need. */
const SCAN_BYTES = 4 * FRAME_BYTES

/** Where a tree's bytes go; `table` begins empty and grows. */
export interface StoreTreeTarget extends StoreTarget {
  tree: ByteSink
}

export type StoreTreeSettings = StoreSettings

/** What a tree image came to. */
export interface StoredTree {
  /** Blocks written to the part. */
  blocks: number
  /** Blocks of the image. */
  rows: number
  entries: number
  files: number
  /** Bytes of all files. */
  bytes: number
}

/**
 * Stores a tree: without a parent the archive byte by byte, so that its part decompresses to exactly that archive;
 * with one the blocks that differ from those of the files they continue. Carried files are not read. The list of
 * entries goes to the tree part. Memory grows by about 50 bytes an entry.
 *
 * @throws NexusError `failed` when the archive is cut off, garbled or lists what no tree can hold; whatever reading,
 * writing and signals throw
 */
export async function storeTree(
  input: TreeInput,
  before: { tree: TreePaths; table: DigestTable } | null,
  target: StoreTreeTarget,
  settings: StoreTreeSettings,
): Promise<StoredTree> {
  const writer = new TreeWriter(target.tree, settings.pool)
  const tree = new NewTree(input.blockSize, before?.tree ?? null, writer)
  if (before !== null) {
    for (const { entry } of input.carried) {
      tree.carry(entry)
      await writer.drain()
    }
    carryDigests({ layout: before.tree.layout, table: before.table }, { layout: tree.layout(), table: target.table })
  } else {
    for (const _ of input.carried) {
      throw new NexusError('failed', 'nothing_to_carry', 'a full backup cannot take over files of an earlier one')
    }
  }
  const frames = drained(
    tarFrames(input.tar, {
      blockSize: input.blockSize,
      frameBytes: before === null ? FRAME_BYTES : SCAN_BYTES,
      raw: before === null,
      enter: header => tree.enter(header, entry => input.describe(entry)),
    }),
    writer,
  )
  const { blocks } = await (before === null
    ? storeAll(frames, target, settings)
    : storeChanged(frames, before.table, target, settings))
  await writer.end()
  const { rows, entries, files, bytes } = tree
  target.table.resize(rows)
  return { blocks, rows, entries, files, bytes }
}

async function* drained(frames: AsyncIterable<Frame>, writer: TreeWriter): AsyncGenerator<Frame, void, void> {
  for await (const frame of frames) {
    await writer.drain()
    yield frame
  }
}
