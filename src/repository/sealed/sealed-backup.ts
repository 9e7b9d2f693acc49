import type { Manifest } from '../manifest.js'
import type { PartWriter, WrittenPart } from '../storage/storage.js'
import type { BackupWriter } from '../types.js'
import { type BackupKey, newBackupKey, sealBackupKey } from './backup-key.js'
import { sealedSuffix } from './sealed-layout.js'
import { type Signer, sealManifest } from './sealed-manifest.js'
import { sealingWriter } from './sealing-writer.js'

/** What new backups of a repository are sealed with. */
export interface Sealing {
  epoch: string
  /** X25519, raw: the epoch's. */
  sealingKey: Uint8Array
  signer: Signer
}

/** A backup writer whose parts and manifest are sealed on their way; the parts it returns are the sealed ones. */
export interface SealedWriter extends BackupWriter {
  /** The backup's own key; null where nothing is sealed. */
  readonly key: BackupKey | null
}

/** Seals what a backup writer is given: every part gets `.enc` behind its name and a key of its own. */
export function sealedWriter(writer: BackupWriter, id: string, sealing: Sealing): SealedWriter {
  const key = newBackupKey(id)
  return {
    key,
    localPath: writer.localPath,
    create: name => createPart(writer, `${name}${sealedSuffix}`, key),
    async commit(manifest: Manifest, parts: WrittenPart[]) {
      const dataKey = await sealBackupKey(key, id, sealing.sealingKey)
      return writer.commit(
        sealManifest(manifest, { key, dataKey, epoch: sealing.epoch, signer: sealing.signer }),
        parts,
      )
    },
    discard: () => writer.discard(),
  }
}

async function createPart(writer: BackupWriter, name: string, key: BackupKey): Promise<PartWriter> {
  return sealingWriter(await writer.create(name), key.part(name))
}
