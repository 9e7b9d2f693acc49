/** What is needed of a backup to tell whether it should have been encrypted. */
interface Member {
  id: string
  encryption?: unknown
}

/**
 * Backups in plain that come after an encrypted one of the same source. No create makes them: from the first encrypted
 * one on it seals, or writes nothing (`assertNeverSealed`). Whoever may add files but has no key can make nothing else.
 * @param manifests oldest sequence first
 */
export function unsealedBackups(manifests: readonly Member[]): Set<string> {
  const first = manifests.findIndex(({ encryption }) => encryption !== undefined)
  const later = first === -1 ? [] : manifests.slice(first)
  return new Set(later.filter(({ encryption }) => encryption === undefined).map(({ id }) => id))
}

/** What is said of one. */
export const unsealedProblem = 'is not encrypted, though earlier backups of its source are'
