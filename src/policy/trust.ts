import { bySequence, type ChainMember, indexById, parentOf } from './chains.js'

/**
 * Whose a backup is: `ours` counts for everything. `stranger`: signed by a host for which no epoch that counts vouches.
 * `badly-signed`: not what was signed, or another one than this host remembers. `plain`: not encrypted where backups are.
 */
export type Trust = 'ours' | 'stranger' | 'badly-signed' | 'plain'

/** What is needed of a backup to judge it; every manifest is one. */
export interface JudgedMember extends ChainMember {
  captured_at: string
  encryption?: unknown
}

/** When a repository began to encrypt. */
export interface Beginning {
  /** Milliseconds since 1970 UTC; null where it is not known. */
  since: number | null
  /** Highest sequence of the source's backups in plain at that time; null where it was not written down. */
  plainUpTo: number | null
}

export interface TrustInput<M extends JudgedMember> {
  /** In any order. */
  members: readonly M[]
  /** Of each encrypted member what its signature is worth, by id. */
  signatures: ReadonlyMap<string, Verdict>
  /** What this host remembers of the source's encrypted backups, by id. */
  known: ReadonlyMap<string, { sequence: number; isSame: boolean }>
  /** Null where neither the repository nor this host knows of any encryption. */
  beginning: Beginning | null
}

export interface Verdict {
  trust: Exclude<Trust, 'plain'>
  /** Says of the backup what is wrong with it, as the rest of a sentence; empty for ours. */
  problem: string
  /** Only of a stranger: its key counted once, and no word for it is taken any more. */
  isDistrusted?: boolean
  /** Only of a stranger: its key counts, and it was made for another repository. */
  isOfAnother?: boolean
}

/** A backup that counts for nothing, with the reason. */
export interface Apart<M> {
  member: M
  trust: Exclude<Trust, 'ours'>
  /** The rest of a sentence that begins with the backup. */
  problem: string
  /** Only of a stranger: its key counted once, and no word for it is taken any more. */
  isDistrusted?: boolean
  /** Only of a stranger: its key counts, and it was made for another repository. */
  isOfAnother?: boolean
}

export interface Judgement<M> {
  /** Oldest sequence first. */
  ours: M[]
  /** Oldest sequence first. */
  apart: Apart<M>[]
}

/** What is said of one in plain. */
export const plainProblem = 'is not encrypted, though the backups of its repository are'
const otherProblem = 'is another one than this host remembers under this id'

/**
 * Judges the backups of one source.
 *
 * - An encrypted backup is what its signature is worth, unless this host remembers another one under its id.
 * - A backup in plain is ours where nothing is encrypted. Elsewhere it must be from before: captured before encryption began,
 *   below every encrypted backup of the source in the order, and not above what was there then. Who has no key makes nothing
 *   else, so nobody else's word counts for it.
 * - Only what is ours by itself is looked at: one whose parent is not ours is ours and cannot be restored (`brokenChains`).
 */
export function judgeTrust<M extends JudgedMember>(input: TrustInput<M>): Judgement<M> {
  const ordered = [...input.members].sort(bySequence)
  const firstSealed = firstEncrypted(input)
  const verdicts = ordered.map(member => ({ member, ...verdictOf(member, input, firstSealed) }))
  return {
    ours: verdicts.flatMap(({ member, trust }) => (trust === 'ours' ? [member] : [])),
    apart: verdicts.flatMap(({ trust, ...verdict }) => (trust === 'ours' ? [] : [{ ...verdict, trust }])),
  }
}

/** The lowest sequence of an encrypted backup that is ours, or that this host remembers. */
function firstEncrypted<M extends JudgedMember>({ members, signatures, known }: TrustInput<M>): number {
  const sealed = members.filter(
    ({ id, encryption }) =>
      encryption !== undefined && signatures.get(id)?.trust === 'ours' && known.get(id)?.isSame !== false,
  )
  return [...sealed, ...known.values()].reduce((least, { sequence }) => Math.min(least, sequence), Infinity)
}

function verdictOf<M extends JudgedMember>(
  { id, sequence, captured_at, encryption }: M,
  { signatures, known, beginning }: TrustInput<M>,
  firstSealed: number,
): { trust: Trust; problem: string; isDistrusted?: boolean; isOfAnother?: boolean } {
  if (known.get(id)?.isSame === false) return { trust: 'badly-signed', problem: otherProblem }
  if (encryption !== undefined) {
    return signatures.get(id) ?? { trust: 'badly-signed', problem: 'was signed by nobody' }
  }
  if (beginning === null && firstSealed === Infinity) return { trust: 'ours', problem: '' }
  const { since = null, plainUpTo = null } = beginning ?? {}
  // Where nothing tells when encryption began, only the order is left.
  const isEarlier = since === null ? firstSealed !== Infinity : Date.parse(captured_at) < since
  const isBefore = isEarlier && sequence < firstSealed && (plainUpTo === null || sequence <= plainUpTo)
  return isBefore ? { trust: 'ours', problem: '' } : { trust: 'plain', problem: plainProblem }
}

/**
 * Of backups that are ours, those whose chain leads to one that is not, with that one.
 * @param apart by id
 */
export function standingOnApart<M extends JudgedMember>(
  ours: readonly M[],
  apart: ReadonlyMap<string, Apart<M>>,
): Map<string, string> {
  const byId = indexById(ours)
  const found = new Map<string, string>()
  for (const member of [...ours].sort(bySequence)) {
    if (member.type === 'full' || member.parent === null) continue
    const parent = parentOf(member, byId)
    const cut = parent === undefined ? (apart.has(member.parent) ? member.parent : undefined) : found.get(parent.id)
    if (cut !== undefined) found.set(member.id, cut)
  }
  return found
}
