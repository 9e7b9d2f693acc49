import { checksumsFile, manifestFile } from '../../layout.js'
import { isArchiveClass, type S3Settings } from './settings.js'

/**
 * The class that a file of a backup is stored in; undefined: the bucket's own. Only data go to another one: manifests and
 * checksums are read by every run, and what lies in an archive class cannot be read when the next increment needs it.
 */
export function storageClassOf({ storageClass }: S3Settings, name: string): string | undefined {
  if (name === manifestFile || name === checksumsFile) return undefined
  if (isArchiveClass(storageClass) && !isData(name)) return undefined
  return storageClass
}

/** Frames; indexes and lists of entries, sealed or not, are small and needed by whoever makes the next backup. */
function isData(name: string): boolean {
  return !/(\.idx|^tree\.jsonl\.zst)(\.enc)?$/.test(name)
}

/** The class of a file of the WAL, which a recovering server asks for one by one: never an archive. */
export function walStorageClassOf({ storageClass }: S3Settings): string | undefined {
  return isArchiveClass(storageClass) ? undefined : storageClass
}
