import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { formatChecksums } from '../../repository/checksums.js'
import { checksumsFile, manifestFile } from '../../repository/layout.js'
import type { SequentialReader } from '../../repository/storage/storage.js'
import type { SourceRoom } from '../../repository/types.js'

/** Bytes read at a time. */
const CHUNK_BYTES = 1024 * 1024

/** From where to where, and who is told of every byte. */
export interface CopyPath {
  origin: SourceRoom
  target: SourceRoom
  advance(bytes: number): void
}

/**
 * Copies one backup as it is stored, file by file, each compared with SHA256SUMS on the way; it appears whole or not at
 * all. The caller holds the target's writer lock and the origin's delete lock.
 *
 * @returns bytes written
 * @throws NexusError damage when a file is not what SHA256SUMS says; whatever reading, writing and signals throw
 */
export async function copyBackup(
  context: Context,
  { origin, target, advance }: CopyPath,
  { id, bytes: stored }: { id: string; bytes: number },
): Promise<number> {
  const sums = await origin.checksums(id)
  const pending = await target.receive(id, stored)
  let written = 0
  try {
    // The manifest last: what has one is whole (design section 5).
    const names = [...sums.keys()].filter(name => name !== manifestFile)
    for (const name of [...names, checksumsFile, manifestFile]) {
      context.signal.throwIfAborted()
      const writer = await pending.create(name)
      if (name === checksumsFile) await writer.write(Buffer.from(formatChecksums(sums)))
      else await pour(context, await origin.openPart(id, name), bytes => writer.write(bytes), advance)
      const { bytes, sha256 } = await writer.close()
      written += bytes
      if (name !== checksumsFile && sha256 !== sums.get(name)) throw damaged(origin, id, name)
    }
    await pending.commit()
    return written
  } catch (error) {
    await pending.discard()
    throw error
  }
}

async function pour(
  { signal }: Context,
  reader: SequentialReader,
  write: (bytes: Buffer) => Promise<void>,
  advance: (bytes: number) => void,
): Promise<void> {
  try {
    for (;;) {
      signal.throwIfAborted()
      const bytes = await reader.read(CHUNK_BYTES)
      if (bytes.byteLength === 0) return
      await write(bytes)
      advance(bytes.byteLength)
    }
  } finally {
    await reader.close()
  }
}

function damaged({ repository, name: source }: SourceRoom, id: string, part: string): NexusError {
  return new NexusError('damage', 'backup_damaged', `${source}/${id}: ${part} differs from its SHA-256, not copied`, {
    hint: `find all damage with: nexus-backup verify ${id} --repo ${repository.location}`,
  })
}
