import { brokenChains, bySequence, type ChainMember } from './chains.js'

/** What a manifest says of its backup's soundness; every manifest is one. */
export interface ProvableBackup extends ChainMember {
  damaged_source: boolean
  /** Something was missing when it was made, or may be torn. */
  incomplete?: boolean | undefined
  checks: readonly { name?: string | undefined; status: 'ok' | 'failed' }[]
  /** Of a database whole bytes are no sound content: only a check of the content proves it. */
  kind?: string | undefined
  /** What the content of two backups is known by to be the same; null where a manifest does not tell. */
  image_digest?: string | null | undefined
  digest_seed?: string | null | undefined
}

/** The outcome of a verify or drill; every Proof is one. An `ok` speaks for the whole chain of its backup. */
export interface ProofOutcome {
  id: string
  at: string
  status: 'ok' | 'damaged' | 'unread' | 'source-damaged' | 'drill-failed'
  level: 'stored' | 'content' | 'drill'
}

/** What the newest drill of a backup says against it, none of which keeps anybody from restoring it. */
export interface DrillMark {
  at: string
  status: 'source-damaged' | 'drill-failed'
}

/**
 * Backups whose newest verify found damage, by id with its time. An `ok` counts only when it is later than the
 * damage and not from the future, for a wrong clock must not whitewash anything.
 */
export function damagedByProof(proofs: readonly ProofOutcome[], now: Date): Map<string, string> {
  const found = new Map<string, string>()
  const passed = latestOk(proofs, now)
  for (const { id, at, status } of proofs) {
    if (status !== 'damaged' || timeOfDamage(at) < (passed.get(id) ?? -Infinity)) continue
    const known = found.get(id)
    if (known === undefined || timeOfDamage(known) < timeOfDamage(at)) found.set(id, at)
  }
  return found
}

/** Backups whose newest drill failed or found the captured content wrong. Only a later drill that passes takes it back. */
export function drillMarks(proofs: readonly ProofOutcome[]): Map<string, DrillMark> {
  const marks = new Map<string, DrillMark>()
  for (const { id, at, status } of inOrder(proofs.filter(({ level }) => level === 'drill'))) {
    if (status === 'source-damaged') marks.set(id, { at, status })
    // A drill that could not be carried out does not take back what an earlier one saw.
    else if (status === 'drill-failed' && marks.get(id)?.status !== 'source-damaged') marks.set(id, { at, status })
    else if (status === 'ok') marks.delete(id)
  }
  return marks
}

/**
 * Backups that hold, or stand on, what a failed check saw: restorable, but perhaps of no use.
 *
 * @param proofs a drill sees what no check at capture did, and one that passes speaks for its backup
 */
export function unsoundBackups(backups: readonly ProvableBackup[], proofs: readonly ProofOutcome[] = []): Set<string> {
  const drills = drillsOfImages(backups, proofs)
  const marks = drillMarks(drills)
  const drilled = new Set(drills.flatMap(({ id, status }) => (status === 'ok' ? [id] : [])))
  /** Of these the manifest says so itself. */
  const captured = new Set<string>()
  /** What only a drill saw, a drill of a child can take back for it. */
  const drilledBadly = new Set<string>()
  for (const { id, type, parent, damaged_source, checks } of [...backups].sort(bySequence)) {
    // What was looked at as a whole stands on nothing that an earlier check saw.
    const base = type === 'full' || hasPassed(checks) ? null : parent
    const inheritsCapture = base !== null && captured.has(base) && !hasSoundPages(checks)
    if (damaged_source || checks.some(({ status }) => status === 'failed') || inheritsCapture) captured.add(id)
    const inheritsDrill = base !== null && drilledBadly.has(base) && !drilled.has(id)
    if (inheritsDrill || marks.get(id)?.status === 'source-damaged') drilledBadly.add(id)
  }
  return new Set([...captured, ...drilledBadly])
}

/** Whether the server read every page of its cluster for an increment too, and found the checksums right again. */
function hasSoundPages(checks: ProvableBackup['checks']): boolean {
  return checks.some(({ name, status }) => name === 'page_checksums' && status === 'ok')
}

/** Whether SQLite looked at the whole database when it was captured, indexes and constraints included. */
function hasPassed(checks: ProvableBackup['checks']): boolean {
  return checks.some(({ name, status }) => name === 'integrity_check' && status === 'ok')
}

/** Whether SQLite looked at the database when it was captured, be it without comparing indexes with their tables. */
function isChecked(checks: ProvableBackup['checks']): boolean {
  return checks.some(({ name, status }) => status === 'ok' && (name === 'integrity_check' || name === 'quick_check'))
}

/**
 * Drills, each for every backup that holds the same image: what was found in the content of one is in all of them. Whether
 * the stored bytes of the others are whole it does not tell.
 */
function drillsOfImages(backups: readonly ProvableBackup[], proofs: readonly ProofOutcome[]): ProofOutcome[] {
  const images = new Map<string, string[]>()
  for (const { id, image_digest, digest_seed } of backups) {
    if (typeof image_digest !== 'string' || typeof digest_seed !== 'string') continue
    const image = `${digest_seed} ${image_digest}`
    images.set(image, [...(images.get(image) ?? []), id])
  }
  const twins = new Map([...images.values()].flatMap(ids => ids.map(id => [id, ids] as const)))
  return proofs.flatMap(proof => {
    if (proof.level !== 'drill') return []
    const isOfContent = proof.status === 'ok' || proof.status === 'source-damaged'
    return isOfContent ? (twins.get(proof.id) ?? [proof.id]).map(id => ({ ...proof, id })) : [proof]
  })
}

/**
 * The ids of proven backups: their content was looked at and found good, the bytes of their whole chain are those that
 * were written, and they are complete.
 *
 * A database is looked at by SQLite's check when it was captured, and by a drill or a restore of the same image: a verify
 * compares bytes, which are as whole in a backup of a database that was damaged already. Of a cluster and of files the
 * checks of a full count, and a verify of any. Damage in a chain counts until a later verify of the backup passes. A
 * backup that stands on a damaged source's is never proven, intact though its bytes may be.
 * @param damaged ids of damaged directories and of `damagedByProof`
 */
export function provenBackups(
  backups: readonly ProvableBackup[],
  proofs: readonly ProofOutcome[],
  damaged: ReadonlySet<string>,
  now: Date,
): Set<string> {
  const broken = brokenChains(backups, damaged)
  const unsound = unsoundBackups(backups, proofs)
  const passed = latestOk(proofs, now)
  const drilled = latestOk(drillsOfImages(backups, proofs), now)
  const ownDamage = latestDamage(proofs)
  const chainDamage = new Map<string, number>()
  const proven = new Set<string>()
  for (const { id, type, parent, checks, incomplete, kind } of [...backups].sort(bySequence)) {
    const inherited = type === 'full' || parent === null ? undefined : chainDamage.get(parent)
    const failedAt = Math.max(ownDamage.get(id) ?? -Infinity, inherited ?? -Infinity)
    chainDamage.set(id, failedAt)
    if (broken.has(id) || unsound.has(id) || incomplete === true) continue
    const isVerified = (passed.get(id) ?? -Infinity) > failedAt
    const isUndamaged = failedAt === -Infinity
    const isProven =
      kind === 'sqlite'
        ? (isChecked(checks) || drilled.has(id)) && (isUndamaged || isVerified)
        : isVerified || (type === 'full' && checks.length > 0 && isUndamaged)
    if (isProven) proven.add(id)
  }
  return proven
}

function latestOk(proofs: readonly ProofOutcome[], now: Date): Map<string, number> {
  const usable = proofs.filter(({ status, at }) => status === 'ok' && Date.parse(at) <= now.getTime())
  return latest(usable, Date.parse)
}

function latestDamage(proofs: readonly ProofOutcome[]): Map<string, number> {
  return latest(
    proofs.filter(({ status }) => status === 'damaged'),
    timeOfDamage,
  )
}

/** Damage at a time that cannot be read is never past. */
function timeOfDamage(at: string): number {
  const time = Date.parse(at)
  return Number.isNaN(time) ? Infinity : time
}

function latest(proofs: readonly ProofOutcome[], timeOf: (at: string) => number): Map<string, number> {
  const times = new Map<string, number>()
  for (const { id, at } of proofs) times.set(id, Math.max(times.get(id) ?? -Infinity, timeOf(at)))
  return times
}

/** Oldest first; at a time that cannot be read, last. */
function inOrder(proofs: readonly ProofOutcome[]): ProofOutcome[] {
  return [...proofs].sort((a, b) => {
    const [first, second] = [timeOfDamage(a.at), timeOfDamage(b.at)]
    return first === second ? 0 : first - second
  })
}
