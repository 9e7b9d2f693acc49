import { createHash } from 'node:crypto'
import { NexusError } from '../errors.js'
import { formatChecksums } from './checksums.js'
import { prettyJson } from './json.js'
import { checksumsFile, manifestFile } from './layout.js'
import type { Manifest } from './manifest.js'
import { checkAgainstSums, checkManifest } from './manifest-read.js'
import type { PendingDirectory, WrittenPart } from './storage/storage.js'
import type { BackupWriter } from './types.js'

/** A backup being written: parts first, then manifest and SHA256SUMS, then all visible at once. */
export function backupWriter(
  pending: PendingDirectory,
  id: string,
  source: string,
  assertThere: (parent: string) => Promise<void>,
): BackupWriter {
  return {
    localPath: pending.localPath,
    create: name => pending.create(name),
    async commit(manifest, parts) {
      const bytes = prettyJson(manifest)
      const sums = new Map(parts.map(part => [part.name, part.sha256]))
      sums.set(manifestFile, createHash('sha256').update(bytes).digest('hex'))
      assertReadable(manifest, bytes, parts, sums, id, source)
      await writeWhole(pending, manifestFile, bytes)
      await writeWhole(pending, checksumsFile, Buffer.from(formatChecksums(sums)))
      const { parent } = manifest
      await pending.commit(parent === null ? undefined : () => assertThere(parent))
      return manifest
    },
    discard: () => pending.discard(),
  }
}

/** What we could not read back must never be committed: the rules of reading hold for writing too. */
function assertReadable(
  manifest: Manifest,
  bytes: Buffer,
  parts: WrittenPart[],
  sums: Map<string, string>,
  id: string,
  source: string,
): void {
  try {
    checkAgainstSums(checkManifest(bytes, id, source), sums, id)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new NexusError('failed', 'manifest_unwritable', `the backup was not committed: ${why}`, { cause })
  }
  const wrong = parts.find(part => manifest.parts.find(({ name }) => name === part.name)?.bytes !== part.bytes)
  if (wrong)
    throw new NexusError(
      'failed',
      'manifest_unwritable',
      `the backup was not committed: ${wrong.name} has another size`,
    )
}

async function writeWhole(pending: PendingDirectory, name: string, bytes: Buffer): Promise<void> {
  const writer = await pending.create(name)
  await writer.write(bytes)
  await writer.close()
}
