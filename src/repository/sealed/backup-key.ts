import { randomBytes } from 'node:crypto'
import { derivedKey, KEY_BYTES } from '../../keys/derive.js'
import { openWith, sealTo } from '../../keys/hpke.js'
import type { SealingKey } from './sealing-writer.js'

const info = 'nexus-backup 1 data key'

/** A backup's own random key, of which every other key of it comes. */
export interface BackupKey {
  data: Buffer
  /** What one of its files is sealed with: bound to the backup and to the file's name. */
  part(name: string): SealingKey
  /** Seals what the manifest does not tell everybody. */
  manifest: Buffer
  /** Authenticates the manifest. */
  mac: Buffer
}

export function newBackupKey(id: string): BackupKey {
  return backupKey(id, randomBytes(KEY_BYTES))
}

function backupKey(id: string, data: Buffer): BackupKey {
  return {
    data,
    part: name => ({ key: derivedKey(data, id, `part ${name}`), context: `nexus-backup 1 part ${id}/${name}` }),
    manifest: derivedKey(data, id, 'manifest'),
    mac: derivedKey(data, id, 'mac'),
  }
}

/** A backup's key, sealed to an epoch: base64. */
export async function sealBackupKey(key: BackupKey, id: string, sealingKey: Uint8Array): Promise<string> {
  return (await sealTo(sealingKey, info, id, key.data)).toString('base64')
}

/** The key of a backup; undefined when what is sealed is not that of this backup or of this epoch. */
export async function openBackupKey(sealed: string, id: string, opening: Uint8Array): Promise<BackupKey | undefined> {
  const data = await openWith(opening, info, id, Buffer.from(sealed, 'base64'))
  return data?.length === KEY_BYTES ? backupKey(id, data) : undefined
}
