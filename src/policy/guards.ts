import { type ChainMember, parentOf } from './chains.js'

/**
 * A damaged directory whose manifest cannot be read does not say whose child it is. Its repair would need the
 * backup before it, so that one stays too. Ids begin with the time of capture, hence sort by it.
 * @returns the id to keep, with the damaged one that may need it
 */
export function pinnedByLost(
  byId: ReadonlyMap<string, ChainMember>,
  damaged: ReadonlySet<string>,
): Map<string, string> {
  const ids = [...byId.keys()].sort()
  const pinned = new Map<string, string>()
  for (const lost of damaged) {
    if (byId.has(lost) || lost.includes('-full-')) continue
    const before = ids.findLast(id => id < lost)
    if (before !== undefined) pinned.set(before, lost)
  }
  return pinned
}

/** The newest proven of the backups that can be restored; where none is, the newest complete one, else the newest. */
export function lastProven(
  restorable: readonly (ChainMember & { incomplete?: boolean | undefined })[],
  proven: ReadonlySet<string>,
): { id: string; reason: string } | undefined {
  const newestProven = restorable.findLast(({ id }) => proven.has(id))
  if (newestProven !== undefined) return { id: newestProven.id, reason: 'last proven' }
  const newest = restorable.findLast(({ incomplete }) => incomplete !== true) ?? restorable.at(-1)
  return newest === undefined ? undefined : { id: newest.id, reason: 'newest, for none is proven' }
}

/**
 * Every backup that a wanted one stands on, with the newest that needs it.
 * @param wanted oldest first
 */
export function neededBy<T extends ChainMember>(
  wanted: readonly T[],
  byId: ReadonlyMap<string, T>,
): Map<string, string> {
  const needed = new Map<string, string>()
  for (const child of [...wanted].reverse()) {
    let ancestor = parentOf(child, byId)
    while (ancestor !== undefined && !needed.has(ancestor.id)) {
      needed.set(ancestor.id, child.id)
      ancestor = parentOf(ancestor, byId)
    }
  }
  return needed
}
