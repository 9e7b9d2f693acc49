import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { DigestTable } from '../../image/digest-table.js'
import { blocksOfFile, type FileLayout } from '../../image/file-layout.js'
import { chainTable } from '../../image/restore-file.js'
import { DIGEST_BYTES } from '../../image/types.js'
import type { SourceRoom } from '../../repository/types.js'
import { memberOf } from '../chain-members.js'
import { assertTableDigest } from '../image-digest.js'
import { newestOf, type OpenedBackup } from '../sealing/open-backup.js'

/** Blocks read at a time: 256 KiB of digests. */
const CHUNK = 16_384

/** What of a file differs. */
export interface ChangedBlocks {
  blocks: number
  bytes: number
}

/** The digests of every block of a backup, as the indexes of its chain have them, proven by its image digest. */
export async function digestsOf(
  room: SourceRoom,
  chain: readonly OpenedBackup[],
  scratch: string,
): Promise<DigestTable> {
  const path = join(scratch, `${newestOf(chain).manifest.id}.digests`)
  rmSync(path, { force: true })
  const table = await chainTable(
    chain.map(member => memberOf(room, member)),
    path,
  )
  try {
    assertTableDigest(chain, table)
    return table
  } catch (error) {
    table.close()
    throw error
  }
}

/** Whether digests of two backups tell whether blocks are the same. */
export function areComparable(a: OpenedBackup, b: OpenedBackup): boolean {
  const [first, second] = [a.manifest, b.manifest]
  return first.digest_algorithm === second.digest_algorithm && first.digest_seed === second.digest_seed
}

/** An image and the digests of its blocks. */
export interface Digested {
  layout: FileLayout
  table: DigestTable
}

/** The blocks of a file that are not as they were in another image's file. */
export function changedBlocks(before: Digested, old: number, after: Digested, file: number): ChangedBlocks {
  const { layout } = after
  const [size, blockSize, count] = [layout.sizeOf(file), layout.blockSizeOf(file), blocksOfFile(layout, file)]
  const known = blockSize === before.layout.blockSizeOf(old) ? blocksOfFile(before.layout, old) : 0
  const changed = { blocks: 0, bytes: 0 }
  for (let at = 0; at < count; at += CHUNK) {
    const length = Math.min(CHUNK, count - at)
    const now = rows(after, file, at, length)
    const then = rows(before, old, at, Math.max(0, Math.min(length, known - at)))
    for (let block = 0; block < length; block += 1) {
      const from = block * DIGEST_BYTES
      const isSame =
        Buffer.compare(now.subarray(from, from + DIGEST_BYTES), then.subarray(from, from + DIGEST_BYTES)) === 0
      if (isSame) continue
      changed.blocks += 1
      changed.bytes += Math.min(blockSize, size - (at + block) * blockSize)
    }
  }
  return changed
}

function rows({ layout, table }: Digested, file: number, block: number, count: number): Uint8Array {
  const digests = new Uint8Array(count * DIGEST_BYTES)
  if (count > 0) table.read(layout.firstRowOf(file) + block, digests)
  return digests
}
