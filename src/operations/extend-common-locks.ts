import { rootFiles } from '../repository/common-files.js'
import { keyFiles } from '../repository/keys/key-files.js'
import { claimFile, isBackupId, proofsDirectory } from '../repository/layout.js'
import type { Manifest } from '../repository/manifest.js'
import { byStamp } from '../repository/proof-names.js'
import { listProofs } from '../repository/proofs.js'
import type { Repository, SourceRoom } from '../repository/types.js'

/** Proofs of one backup whose locks are extended: somebody may have put others beside the one that counts. */
const NEWEST = 3

/**
 * Locks what a source's backups need and share: the root's own files, everything about keys, and who writes here, each
 * longer than any backup; and the newest proofs of a new backup's chain as long as itself, for these tell of all earlier ones. Without the keys a locked backup is
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
  const proofs = await listProofs(storage, name)
  const wanted = chain.flatMap(({ id }) => (proofs.get(id) ?? []).slice(-NEWEST)).sort(byStamp)
  await storage.extendFileLocks(wanted.map(proof => `${name}/${proofsDirectory}/${proof.name}`))
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
