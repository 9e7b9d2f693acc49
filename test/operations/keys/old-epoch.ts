import type { EpochPrivate } from '../../../src/keys/epoch-keys.js'
import { canonicalJson } from '../../../src/repository/json.js'
import type { Epoch } from '../../../src/repository/keys/epoch.js'
import { formatKeyDocument } from '../../../src/repository/keys/key-document.js'
import { epochFile } from '../../../src/repository/keys/key-layout.js'
import type { Storage } from '../../../src/repository/storage/storage.js'

/** Makes a repository's first epoch one that a version made which did not sign WAL. */
export async function asOfOldVersion(storage: Storage, epoch: Epoch, keys: EpochPrivate): Promise<void> {
  const { unsigned_wal: _reach, signature: _signature, previous_signature, ...rest } = epoch
  const document = {
    ...rest,
    sealing_key: rest.sealing_key.toString('base64'),
    signing_key: rest.signing_key.toString('base64'),
    previous_secret: null,
  }
  const signature = keys.sign(`nexus-backup 1 epoch ${canonicalJson(document)}`).toString('base64')
  await storage.replace(epochFile(epoch.id), formatKeyDocument({ ...document, previous_signature, signature }))
}
