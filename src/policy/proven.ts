import { brokenChains, bySequence, type ChainMember } from './chains.js'

/** What a manifest says of its backup's soundness; every manifest is one. */
export interface ProvableBackup extends ChainMember {
  damaged_source: boolean
  /** Something was missing when it was made, or may be torn. */
  incomplete?: boolean | undefined
  checks: readonly { name?: string | undefined; status: 'ok' | 'failed' }[]
  /** Of a database whole bytes are no sound content: only a check of the content proves it. */
  kind?: string | undefined
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
  const marks = drillMarks(proofs)
  const drilled = new Set(proofs.flatMap(({ id, level, status }) => (level === 'drill' && status === 'ok' ? [id] : [])))
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

/**
 * The ids of proven backups: a full whose integrity or content checks passed when it was made, or any backup that a
 * later verify of its whole chain found good; and no verify of any backup in that chain has found damage since. A
 * database that nobody looked into when it was captured needs a drill: a verify compares its bytes only. A backup that stands on a damaged source's is never proven, intact though its bytes may be, and
 * neither is one that is not complete.
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
  const drilled = latestOk(
    proofs.filter(({ level }) => level === 'drill'),
    now,
  )
  const ownDamage = latestDamage(proofs)
  const chainDamage = new Map<string, number>()
  const proven = new Set<string>()
  for (const { id, type, parent, checks, incomplete, kind } of [...backups].sort(bySequence)) {
    const inherited = type === 'full' || parent === null ? undefined : chainDamage.get(parent)
    const failedAt = Math.max(ownDamage.get(id) ?? -Infinity, inherited ?? -Infinity)
    chainDamage.set(id, failedAt)
    if (broken.has(id) || unsound.has(id) || incomplete === true) continue
    const checkedWhenMade = type === 'full' && checks.length > 0 && failedAt === -Infinity
    const verified = kind === 'sqlite' && checks.length === 0 ? drilled : passed
    if (checkedWhenMade || (verified.get(id) ?? -Infinity) > failedAt) proven.add(id)
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
