import { errnoOf, NexusError } from '../errors.js'
import { checksumsFile, manifestFile } from './layout.js'
import type { Manifest } from './manifest.js'
import type { FileStamp, Storage } from './storage/storage.js'

/** Of a backup's manifest and of the SHA256SUMS that it was checked against. */
export type BackupStamp = readonly [manifest: FileStamp, checksums: FileStamp]

/** Stamps of backups as they are now, by id; one whose files cannot be looked at has none. */
export type Stamps = (ids: readonly string[]) => Promise<ReadonlyMap<string, BackupStamp>>

/** A manifest that was read and checked, and the files that it was read from. */
export interface RememberedManifest {
  manifest: Manifest
  /** Taken before they were read: whatever changes them afterwards changes it. */
  stamp: BackupStamp
}

/** What runs keep of a source's manifests for later ones, outside the repository. Only a cache: it throws nothing. */
export interface ManifestMemory {
  load(): Promise<readonly RememberedManifest[]>
  /** @param known all that is known now, as far as it can be told again whether it changed */
  keep(known: readonly RememberedManifest[]): Promise<void>
}

/** How to tell whether a source's backups are as they were; undefined on a store where a look costs as much as reading. */
export function stampsIn(storage: Storage, source: string): Stamps | undefined {
  const { stampsOf } = storage
  if (stampsOf === undefined) return undefined
  return async ids => {
    const names = ids.flatMap(id => [`${id}/${manifestFile}`, `${id}/${checksumsFile}`])
    const found = await stampsOrNone(() => stampsOf.call(storage, source, names))
    const stamps = new Map<string, BackupStamp>()
    for (const [at, id] of ids.entries()) {
      const [manifest, checksums] = [found[2 * at], found[2 * at + 1]]
      if (manifest !== undefined && checksums !== undefined) stamps.set(id, [manifest, checksums])
    }
    return stamps
  }
}

/** Why a source cannot be looked into is told by who reads it. */
async function stampsOrNone(look: () => Promise<(FileStamp | undefined)[]>): Promise<(FileStamp | undefined)[]> {
  try {
    return await look()
  } catch (error) {
    if (error instanceof NexusError ? error.kind === 'interrupted' : errnoOf(error) === undefined) throw error
    return []
  }
}

export function isSameStamp(a: BackupStamp | undefined, b: BackupStamp | undefined): boolean {
  return a !== undefined && b !== undefined && isSameFile(a[0], b[0]) && isSameFile(a[1], b[1])
}

function isSameFile(a: FileStamp, b: FileStamp): boolean {
  return a[0] === b[0] && a[1] === b[1] && a[2] === b[2] && a[3] === b[3] && a[4] === b[4]
}
