import { rootFiles } from '../repository/common-files.js'
import { keyFiles } from '../repository/keys/key-files.js'
import { claimFile, isBackupId, proofsDirectory } from '../repository/layout.js'
import type { Manifest } from '../repository/manifest.js'
import type { Repository, SourceRoom } from '../repository/types.js'

/**
 * Locks what a source's backups need and share: the root's own files, everything about keys, and who writes here, each
 * longer than any backup; and the proofs of a new backup's chain as long as itself. Without the keys a locked backup is
 * nothing that anybody could open.
 * @param manifests every backup of the source, of which some may be kept until a date
 * @param chain what the new backup depends on, and itself
 */
export async function extendCommonLocks(
  { name, repository }: SourceRoom,
  { manifests, chain }: { manifests: readonly Manifest[]; chain: readonly Pick<Manifest, 'id'>[] },
): Promise<void> {
  const { storage } = repository
  if (storage.lockEnd() === undefined) return
  const names = [...rootFiles, ...(await keyFiles(storage)), `${name}/${claimFile}`]
  await storage.extendCommonLocks(names, { date: keptUntil(manifests), longest: () => longestLock(repository) })
  const ids = new Set(chain.map(({ id }) => id))
  const proofs = (await storage.list(`${name}/${proofsDirectory}`)).map(entry => entry.name)
  const wanted = proofs.filter(proof => ids.has(backupOf(proof))).sort()
  await storage.extendFileLocks(wanted.map(proof => `${name}/${proofsDirectory}/${proof}`))
}

/** The latest date until which one of these backups is kept; `forever` is none that a store knows. */
function keptUntil(manifests: readonly Manifest[]): Date | undefined {
  const dates = manifests.flatMap(({ keep_until: kept }) => (kept === null || kept === 'forever' ? [] : [kept]))
  const [latest] = dates.sort().reverse()
  return latest === undefined ? undefined : new Date(latest)
}

async function longestLock({ sources, source, storage }: Repository): Promise<Date | undefined> {
  let longest: Date | undefined
  for (const name of await sources()) {
    const ids = (await storage.list(name)).map(entry => entry.name).filter(isBackupId)
    for (const until of (await source(name).lockedUntil(ids)).values()) {
      if (longest === undefined || until > longest) longest = until
    }
  }
  return longest
}

/** `ID-TIME.json` */
function backupOf(proof: string): string {
  return proof.split('-').slice(0, 3).join('-')
}
