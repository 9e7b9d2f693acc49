import type { BackupType } from '../repository/manifest.js'

/** What it takes to know a backup's place in its chain; every manifest has it. */
export interface ChainMember {
  id: string
  sequence: number
  type: BackupType
  parent: string | null
}

/** Lower sequence first; ids only make the order total, for a sequence that stands twice is somebody's mistake. */
export function bySequence(a: ChainMember, b: ChainMember): number {
  return a.sequence - b.sequence || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)
}

/** The backup whose blocks this one changes; undefined for a full, which needs none. */
export function parentOf<T extends ChainMember>(member: T, byId: ReadonlyMap<string, T>): T | undefined {
  return member.type === 'full' || member.parent === null ? undefined : byId.get(member.parent)
}

export function indexById<T extends ChainMember>(members: readonly T[]): Map<string, T> {
  return new Map(members.map(member => [member.id, member]))
}

/**
 * Why backups cannot be restored from what is here, by id; those that can are not in the map.
 * A parent must have a lower sequence than its child, so no circle of parents can be mistaken for a chain.
 * @param damaged ids known to be damaged, also of directories without a readable manifest
 */
export function brokenChains(members: readonly ChainMember[], damaged: ReadonlySet<string>): Map<string, string> {
  const byId = indexById(members)
  const broken = new Map<string, string>()
  for (const member of [...members].sort(bySequence)) {
    const problem = problemOf(member, byId, damaged, broken)
    if (problem !== undefined) broken.set(member.id, problem)
  }
  return broken
}

function problemOf(
  member: ChainMember,
  byId: ReadonlyMap<string, ChainMember>,
  damaged: ReadonlySet<string>,
  broken: ReadonlyMap<string, string>,
): string | undefined {
  if (damaged.has(member.id)) return 'damaged'
  if (member.type === 'full') return undefined
  if (member.parent === null) return 'its parent is not named'
  if (damaged.has(member.parent)) return `its parent ${member.parent} is damaged`
  const parent = byId.get(member.parent)
  if (parent === undefined) return `its parent ${member.parent} is missing`
  if (parent.sequence >= member.sequence) return `its parent ${member.parent} is not older`
  if (broken.has(parent.id)) return `its parent ${member.parent} cannot be restored`
  return undefined
}
