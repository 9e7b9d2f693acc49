import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import { ChainVerifier } from '../../image/verify-chain.js'
import { WorkerPool } from '../../image/workers/pool.js'
import type { Manifest } from '../../repository/manifest.js'
import type { Proof, SourceRoom } from '../../repository/types.js'
import { lostFrom } from '../../sources/postgres/data-links.js'
import { verifiedMemberOf } from '../chain-members.js'
import { missingKeys } from '../keys/kept-keys.js'
import { prunedAmong } from '../pruned.js'
import type { VerifiedBackup } from '../results.js'
import { keepProofs, loadProofs } from '../trust/proofs.js'
import { nameAffected } from './affected.js'
import type { VerifyPlan } from './verify-plan.js'
import { checkStored, openForVerify } from './verify-sealed.js'
import { unreadable } from './verify-unreadable.js'

type Finding = VerifiedBackup['findings'][number]
type Status = VerifiedBackup['status']

/** Checks one source's backups and keeps a proof of each where the repository can be written. */
export async function verifyRoom(context: Context, plan: VerifyPlan, scratch: string): Promise<VerifiedBackup[]> {
  const { room } = plan
  const pool = WorkerPool.start(context.signal)
  const total = plan.check.reduce((sum, { bytes_stored }) => sum + bytes_stored, 0)
  let done = 0
  const advance = (bytes: number) => {
    done += bytes
    context.progress({ phase: `${room.name}: verifying`, done, total })
  }
  const verifier = new ChainVerifier(scratch, { pool, work: { signal: context.signal, advance } })
  const byId = new Map<string, VerifiedBackup>()
  for (const { id, problem } of plan.lost) {
    const findings = [{ part: 'manifest.json', problem }]
    byId.set(id, { id, source: room.name, status: 'damaged', level: 'content', findings, affects: [] })
  }
  const children = new Map<string, number>()
  for (const { parent } of plan.check) if (parent !== null) children.set(parent, (children.get(parent) ?? 0) + 1)
  try {
    for (const manifest of plan.check) {
      const member = { manifest, children: children.get(manifest.id) ?? 0 }
      byId.set(manifest.id, await checkOne(context, plan, verifier, member, byId))
    }
  } finally {
    verifier.close()
    await pool.stop()
  }
  const present = await withoutPruned(context, room, [...byId.values()])
  nameAffected(present, plan.manifests.values())
  if (plan.problems.length > 0) present.push(roomResult(plan))
  const judged = present.map(result => lacking(result, plan.manifests.get(result.id)))
  // What does not count of the proofs that are there is said before new ones take their place.
  await loadProofs(context, room, plan.check)
  if (room.repository.writable) await keepResults(context, plan, judged)
  return judged
}

/** Where no lock keeps prunes away, a backup may go while it is read, which is no damage. */
async function withoutPruned(
  { warn }: Pick<Context, 'warn'>,
  room: SourceRoom,
  results: VerifiedBackup[],
): Promise<VerifiedBackup[]> {
  if (results.every(({ status }) => status !== 'damaged')) return results
  const pruned = await prunedAmong(
    room,
    results.flatMap(({ id, status }) => (status === 'damaged' ? [id] : [])),
  )
  for (const id of pruned) warn(`${room.name}: ${id} is gone: it was removed while it was verified`)
  return results.filter(({ id }) => !pruned.has(id))
}

async function checkOne(
  context: Context,
  plan: VerifyPlan,
  verifier: ChainVerifier,
  { manifest, children }: { manifest: Manifest; children: number },
  before: ReadonlyMap<string, VerifiedBackup>,
): Promise<VerifiedBackup> {
  const { id } = manifest
  let status: Status = 'ok'
  let findings: Finding[] = []
  let level: VerifiedBackup['level'] = 'content'
  try {
    const opened = await openForVerify(context, plan.room, manifest)
    if ('why' in opened) {
      // What is stored can be compared without any key; what it says cannot.
      level = 'stored'
      findings = await checkStored(context, plan.room, manifest)
    } else {
      findings = await verifier.check(verifiedMemberOf(plan.room, opened, children))
    }
    findings.push(...(await strangers(plan, manifest)))
    if (findings.length > 0) status = 'damaged'
    else if ('why' in opened) {
      status = 'unread'
      findings = [{ part: 'content', problem: `was not read: ${opened.why}` }]
    }
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'damage') {
      findings = [{ part: error.code === 'keys_damaged' ? keysPart : 'chain', problem: messageOf(error) }]
      status = 'damaged'
    } else if (unreadable(error)) {
      findings = [{ part: 'parts', problem: `could not be read: ${messageOf(error)}` }]
      status = 'unread'
    } else throw error
  }
  const above = chainProblem(plan, manifest, before)
  if (above !== null) {
    findings.push(above.finding)
    if (status !== 'damaged') status = above.status
  }
  const apart = plan.apart.get(id)
  if (apart !== undefined) {
    findings.push({ part: 'manifest.json', problem: apart.problem })
    if (apart.trust === 'badly-signed') status = 'damaged'
    else if (status !== 'damaged') status = 'untrusted'
  }
  return { id, source: plan.room.name, status, level, findings, affects: [] }
}

/** A backup is worth no more than what it stands on. */
function chainProblem(
  plan: VerifyPlan,
  { parent, type, sequence }: Manifest,
  before: ReadonlyMap<string, VerifiedBackup>,
): { status: Status; finding: Finding } | null {
  if (type === 'full') return null
  const known = parent === null ? undefined : before.get(parent)
  const older = parent === null ? undefined : plan.manifests.get(parent)
  // Order goes by sequence: without this a circle of parents would pass for a chain.
  if (older !== undefined && older.sequence >= sequence) {
    return { status: 'damaged', finding: { part: 'chain', problem: `needs ${parent}, which is not older` } }
  }
  if (known?.status === 'ok') return null
  const stranger = parent === null ? undefined : plan.apart.get(parent)
  if (stranger !== undefined) {
    return { status: 'damaged', finding: { part: 'chain', problem: `needs ${parent}, which ${stranger.problem}` } }
  }
  const present = parent !== null && plan.manifests.has(parent)
  const what =
    known?.status === 'unread' ? 'could not be read' : present || known !== undefined ? 'is damaged' : 'is missing'
  const status = known?.status === 'unread' ? 'unread' : 'damaged'
  return { status, finding: { part: 'chain', problem: `needs ${parent}, which ${what}` } }
}

/** Files in a backup's directory that its checksums do not know. */
async function strangers({ room }: VerifyPlan, manifest: Manifest): Promise<Finding[]> {
  const known = new Set(['SHA256SUMS', ...(await room.checksums(manifest.id)).keys()])
  const names = await room.files(manifest.id)
  return names.flatMap(name => (known.has(name) ? [] : [{ part: name, problem: 'does not belong to the backup' }]))
}

/** Bytes that are whole do not make a backup whole whose server left data out of it. */
function lacking(result: VerifiedBackup, manifest: Manifest | undefined): VerifiedBackup {
  const lost = manifest === undefined || result.status !== 'ok' ? [] : lostFrom(manifest)
  if (lost.length === 0) return result
  const findings = lost.map(problem => ({ part: 'data', problem: `was left out by the server: ${problem}` }))
  return { ...result, status: 'source-damaged', findings }
}

function roomResult({ room, problems }: VerifyPlan): VerifiedBackup {
  return { id: room.name, source: room.name, status: 'damaged', level: 'stored', findings: problems, affects: [] }
}

/** Part of a finding that tells of the keys, not of the backup. */
const keysPart = 'keys'

/** Keys that are gone can be put back: a proof would call the backup damaged for longer than that. */
async function keepResults(context: Context, plan: VerifyPlan, results: readonly VerifiedBackup[]): Promise<void> {
  const at = context.now().toISOString()
  const isAnyDamaged = results.some(({ status }) => status === 'damaged')
  const isKeyless = isAnyDamaged && (await missingKeys(context, plan.room.repository)).length > 0
  const unproven = new Set<string>()
  const proofs: Proof[] = []
  for (const { id, status, level, findings } of results) {
    // What is not ours, or stands on it, has no proof: it is judged each time, and may be ours once a host is let in.
    if (status === 'untrusted' || plan.apart.has(id) || plan.cut.has(id)) continue
    const manifest = plan.manifests.get(id)
    if (manifest === undefined) continue
    const isOfKeys = findings.some(({ part }) => part === keysPart) || unproven.has(manifest.parent ?? '')
    if (isOfKeys || (isKeyless && status === 'damaged')) unproven.add(id)
    else proofs.push({ id, at, status, level, findings })
  }
  await keepProofs(context, plan.room, { proofs, manifests: plan.check })
}
