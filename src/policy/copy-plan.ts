/** What the plan of a copy needs of a backup. */
export interface CopyMember {
  id: string
  /** Decides the order of a source's backups. */
  sequence: number
  parent: string | null
  /** Milliseconds since 1970 UTC. */
  at: number
}

export interface CopyInput<M extends CopyMember> {
  /** Readable backups where the copies come from, in any order. */
  origin: readonly M[]
  /** Of those, which cannot be restored, and why. */
  broken: ReadonlyMap<string, string>
  /** Readable backups where the copies go. */
  present: readonly CopyMember[]
  /** Ids that are taken there, those of damaged backups too: nothing is ever overwritten. */
  taken: ReadonlySet<string>
}

export interface CopyPlan<M extends CopyMember> {
  /** To be copied in this order: every parent is there before its children. */
  copy: M[]
  /** Would be copied, but cannot be restored. */
  left: { id: string; problem: string }[]
  /** Set when the two histories are not one: then nothing is copied. */
  diverged: { newest: CopyMember; behind: M } | null
}

/**
 * Which backups another repository lacks: all that are newer than its newest one, and what they depend on. Older ones
 * were there and were retired by the retention of that repository, so they do not come back.
 *
 * Histories have diverged when a backup that is missing there was captured after the newest one there and yet comes
 * before it in the order: the origin began anew. Copied, it would stand behind an older state, and "the latest" would be
 * a lie.
 */
export function planCopy<M extends CopyMember>({ origin, broken, present, taken }: CopyInput<M>): CopyPlan<M> {
  const byAge = [...origin].sort((a, b) => a.sequence - b.sequence || (a.id < b.id ? -1 : 1))
  const newest = [...present].sort((a, b) => a.sequence - b.sequence || a.at - b.at).at(-1)
  const missing = byAge.filter(({ id }) => !taken.has(id))
  if (newest !== undefined) {
    const behind = missing.find(({ sequence, at }) => sequence <= newest.sequence && at > newest.at)
    if (behind !== undefined) return { copy: [], left: [], diverged: { newest, behind } }
  }
  const wanted = missing.filter(({ sequence }) => newest === undefined || sequence > newest.sequence)
  const left = wanted.flatMap(({ id }) => {
    const problem = broken.get(id)
    return problem === undefined ? [] : [{ id, problem }]
  })
  const known = new Map(byAge.map(member => [member.id, member]))
  const chosen = new Set<string>()
  for (const member of wanted.filter(({ id }) => !broken.has(id))) {
    for (let next: M | undefined = member; next !== undefined && !taken.has(next.id) && !chosen.has(next.id); ) {
      chosen.add(next.id)
      next = next.parent === null ? undefined : known.get(next.parent)
    }
  }
  return { copy: byAge.filter(({ id }) => chosen.has(id)), left, diverged: null }
}
