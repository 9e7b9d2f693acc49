import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { ChainMember, StoredPart } from '../../src/image/chain.js'
import { DigestTable } from '../../src/image/digest-table.js'
import { listedFiles } from '../../src/image/file-layout.js'
import { type StoreTarget, storeAll, storeChanged } from '../../src/image/store.js'
import type { ByteSink, DigestKind, Frame, PartReader } from '../../src/image/types.js'
import type { WorkerPool } from '../../src/image/workers/pool.js'

/** Parts that are kept in memory. */
export class MemorySink implements ByteSink {
  readonly #pieces: Buffer[] = []

  async write(bytes: Uint8Array): Promise<void> {
    this.#pieces.push(Buffer.from(bytes))
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#pieces)
  }
}

export function readerOf(bytes: Buffer): PartReader {
  let at = 0
  return {
    size: bytes.length,
    async read(length) {
      // A copy: what is read may be handed over to another thread.
      const piece = Buffer.from(bytes.subarray(at, at + length))
      at += piece.length
      return piece
    },
    readAt: async (from, length) => Buffer.from(bytes.subarray(from, from + length)),
    async close() {},
  }
}

export function partOf(name: string, bytes: Buffer): StoredPart {
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  return { name, bytes: bytes.length, sha256, open: async () => readerOf(bytes) }
}

export const quiet = { signal: new AbortController().signal, advance: () => {} }

export const xxh: DigestKind = { algorithm: 'xxh3-128', seed: '0123456789abcdef' }
export const sha: DigestKind = { algorithm: 'sha256-128', seed: '0000000000000000' }

/** A backup in memory, with the digest table of its image. */
export interface StoredImage {
  member: ChainMember
  frames: Buffer
  index: Buffer
  table: DigestTable
  blocks: number
}

let made = 0

/** Stores frames as a full, or against an earlier image's table as changes. */
export async function store(
  frames: Iterable<Frame>,
  files: readonly { size: number; block_size: number }[],
  settings: { pool: WorkerPool; digest: DigestKind; directory: string; before?: DigestTable },
): Promise<StoredImage> {
  made += 1
  const layout = listedFiles(files)
  const { rows } = layout
  const path = join(settings.directory, `table-${made}`)
  const { before, pool, digest } = settings
  const table = before === undefined ? DigestTable.create(path, rows) : DigestTable.copyOf(before, path, rows)
  const part = new MemorySink()
  const index = new MemorySink()
  const target: StoreTarget = { part, index, table }
  const engine = { pool, digest, work: quiet }
  const { blocks } = await (before === undefined
    ? storeAll(frames, target, engine)
    : storeChanged(frames, before, target, engine))
  const member: ChainMember = {
    id: `member-${made}`,
    digest,
    blocks: rows,
    layout: async () => layout,
    frames: partOf('frames', part.bytes),
    index: partOf('blocks.idx', index.bytes),
  }
  return { member, frames: part.bytes, index: index.bytes, table, blocks }
}
