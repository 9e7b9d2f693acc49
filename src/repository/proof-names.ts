/** `ID-TIME.json`, the time written like the id's; `-N` where a name of that time was taken. */
const pattern = /^(\d{8}T\d{6}\.\d{3}Z-(?:full|diff|incr)-[0-9a-f]{4})-(\d{8}T\d{6}\.\d{3}Z)(?:-(\d{1,9}))?\.json$/

/** What the name of a proof's file says. */
export interface ProofName {
  name: string
  id: string
  /** The time in the name, as text that sorts. */
  stamp: string
  /** Orders names of one time, from 1. */
  number: number
}

/** The parts of a proof's name; undefined for any other name. */
export function parseProofName(name: string): ProofName | undefined {
  const [, id, stamp, digits] = pattern.exec(name) ?? []
  return id === undefined || stamp === undefined ? undefined : { name, id, stamp, number: Number(digits ?? 1) }
}

export function formatProofName({ id, stamp, number }: Omit<ProofName, 'name'>): string {
  return `${id}-${stamp}${number === 1 ? '' : `-${number}`}.json`
}

/** An instant as names of proofs have it. */
export function stampOf(instant: Date): string {
  return instant.toISOString().replaceAll('-', '').replaceAll(':', '')
}

/** Older name first. */
export function byStamp(a: ProofName, b: ProofName): number {
  return a.stamp === b.stamp ? a.number - b.number : a.stamp < b.stamp ? -1 : 1
}

/** The proofs among these names by the id of their backup, each oldest name first. */
export function proofNames(names: readonly string[]): Map<string, ProofName[]> {
  const byId = new Map<string, ProofName[]>()
  for (const text of names) {
    const name = parseProofName(text)
    if (name === undefined) continue
    const known = byId.get(name.id)
    if (known === undefined) byId.set(name.id, [name])
    else known.push(name)
  }
  for (const known of byId.values()) known.sort(byStamp)
  return byId
}

/**
 * Whether a record stands for another file of its backup: for each that it names, and for all that sort before one that it
 * names and that sorts before itself.
 */
export function isReplaced(other: ProofName, record: ProofName, replaces: readonly string[]): boolean {
  if (other.name === record.name) return false
  return replaces.some(text => {
    if (text === other.name) return true
    const until = parseProofName(text)
    return until !== undefined && byStamp(until, record) < 0 && byStamp(other, until) < 0
  })
}
