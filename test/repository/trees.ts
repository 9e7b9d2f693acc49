import { randomBytes } from 'node:crypto'
import type { TreeInput } from '../../src/image/tree/types.js'
import type { WorkerPool } from '../../src/image/workers/pool.js'
import { makeBackupId } from '../../src/repository/layout.js'
import type { BackupType, Manifest } from '../../src/repository/manifest.js'
import type { SourceRoom } from '../../src/repository/types.js'
import { storeTreeBackup, type TreeBackup } from '../image/tree/tree-store.js'
import { exampleManifest } from './manifests.js'

export interface MadeTree {
  manifest: Manifest
  backup: TreeBackup
}

/** Stores a tree with the engine and commits it as a backup of the room. */
export async function makeTreeBackup(
  room: SourceRoom,
  input: TreeInput,
  settings: { pool: WorkerPool; directory: string; parent?: MadeTree },
): Promise<MadeTree> {
  const { parent } = settings
  const type: BackupType = parent === undefined ? 'full' : 'incr'
  const backup = await storeTreeBackup(input, parent?.backup ?? null, settings)
  const sequence = (parent?.manifest.sequence ?? 0) + 1
  const at = new Date(Date.UTC(2025, 10, 3, 3, 0, sequence))
  const id = makeBackupId(at, type, randomBytes(2).toString('hex'))
  const writer = await room.begin(id)
  const parts = []
  for (const [name, role, bytes] of [
    type === 'full'
      ? (['uploads.tar.zst', 'image', backup.frames] as const)
      : (['blocks.zst', 'blocks', backup.frames] as const),
    ['blocks.idx', 'index', backup.index] as const,
    ['tree.jsonl.zst', 'tree', backup.list] as const,
  ]) {
    const out = await writer.create(name)
    await out.write(bytes)
    parts.push({ ...(await out.close()), role })
  }
  const { entries, files, rows, bytes, blocks } = backup.stored
  const wishes = { id, type, sequence, at, source: room.name, parent: parent?.manifest.id ?? null, files: [], parts }
  const manifest: Manifest = {
    ...exampleManifest(wishes),
    kind: 'files',
    tree: { block_size: input.blockSize, entries, files },
    blocks_total: rows,
    blocks_stored: blocks,
    bytes_source: bytes,
    digest_seed: backup.member.digest.seed,
    image_digest: backup.table.imageDigest(),
  }
  await writer.commit(manifest, parts)
  return { manifest, backup }
}
