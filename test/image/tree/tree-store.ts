import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import type { ChainMember } from '../../../src/image/chain.js'
import { DigestTable } from '../../../src/image/digest-table.js'
import { checkTree, loadLayout, type TreeCounts } from '../../../src/image/tree/load-layout.js'
import { type StoredTree, storeTree } from '../../../src/image/tree/store-tree.js'
import { loadTree, type Tree } from '../../../src/image/tree/tree.js'
import type { TreeInput } from '../../../src/image/tree/types.js'
import type { WorkerPool } from '../../../src/image/workers/pool.js'
import { MemorySink, partOf, quiet, xxh } from '../parts.js'

/** A tree's backup in memory, with everything the next one and a restore need. */
export interface TreeBackup {
  member: ChainMember
  stored: StoredTree
  counts: TreeCounts
  frames: Buffer
  index: Buffer
  list: Buffer
  table: DigestTable
  tree: Tree
}

let made = 0

export async function storeTreeBackup(
  input: TreeInput,
  parent: TreeBackup | null,
  settings: { pool: WorkerPool; directory: string },
): Promise<TreeBackup> {
  made += 1
  const table = DigestTable.create(join(settings.directory, `tree-table-${made}`), 0)
  const [part, index, list] = [new MemorySink(), new MemorySink(), new MemorySink()]
  const engine = { pool: settings.pool, digest: xxh, work: quiet }
  const stored = await storeTree(input, parent, { part, index, tree: list, table }, engine)
  const { entries, files, rows, bytes } = stored
  const counts = { blockSize: input.blockSize, entries, files, rows, bytes }
  const listPart = partOf('tree.jsonl.zst', list.bytes)
  const member: ChainMember = {
    id: `tree-${made}`,
    digest: xxh,
    blocks: rows,
    layout: () => loadLayout(listPart, counts),
    frames: partOf('frames', part.bytes),
    index: partOf('blocks.idx', index.bytes),
  }
  await checkTree(listPart, counts)
  const tree = await loadTree(listPart, counts)
  return { member, stored, counts, frames: part.bytes, index: index.bytes, list: list.bytes, table, tree }
}

/** An archive on disk as a source's stream. */
export function archiveFile(path: string, highWaterMark = 65_536): AsyncIterable<Uint8Array> {
  return createReadStream(path, { highWaterMark })
}

/** An archive in memory, in pieces of the given sizes over and over. */
export async function* inPieces(bytes: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array, void, void> {
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const size = sizes[turn % sizes.length] ?? bytes.length
    yield bytes.subarray(at, at + size)
    at += size
  }
}

/** What stores an archive as it is. */
export function plainInput(tar: AsyncIterable<Uint8Array>, blockSize: number): TreeInput {
  return { blockSize, carried: [], tar, describe: entry => entry }
}
