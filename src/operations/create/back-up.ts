import type { SourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import type { WorkerPool } from '../../image/workers/pool.js'
import type { Journal } from '../../journal/types.js'
import { makeBackupId } from '../../repository/layout.js'
import type { Manifest } from '../../repository/manifest.js'
import { hasSigned } from '../../repository/recovery-signature.js'
import type { Sealing } from '../../repository/sealed/sealed-backup.js'
import { namingFull } from '../../repository/storage/faults.js'
import type { Repository, SourceRoom } from '../../repository/types.js'
import { chainOf } from '../chain-members.js'
import { extendCommonLocks } from '../extend-common-locks.js'
import { extendLocksOf, lockUntilKept } from '../extend-locks.js'
import { finishAbandonedHooks, hasHooks, withHooks } from '../hooks/with-hooks.js'
import { lockOptions, withLocks } from '../locked.js'
import type { CreateRequest } from '../requests.js'
import type { Concern, LockReport } from '../results.js'
import { assertKeysThere } from '../sealing/keys-there.js'
import { assertNeverSealed, sealingFor } from '../sealing/sealing-for.js'
import { passedOver } from '../select.js'
import { withStateScratch } from '../state-directory.js'
import { type Survey, surveyUsing } from '../survey.js'
import { keyringOf } from '../trust/keyring-of.js'
import { type CreatePlan, parentsIn, planCreate } from './create-plan.js'
import { enterOwn } from './enter-own.js'
import { assertRoom } from './free-space.js'
import { planWithOpenParent } from './open-parent.js'
import { readBack } from './read-back.js'
import { type ProbedSource, type SourceWork, workFor } from './source-work.js'

export interface BackUpRequest {
  source: SourceSettings
  request: CreateRequest
  runId: string
  pool: WorkerPool
  /** Opens or makes the repository; asked only when the source has shown to be usable. */
  open(): Promise<Repository>
}

/** What one backup is made from and with, once its locks are held. */
export interface BackUpTask extends BackUpRequest {
  context: Context
  journal: Journal
  room: SourceRoom
  history: Survey
  plan: CreatePlan
  probe: ProbedSource
  /** What the backup is sealed with; null where the repository is not encrypted. */
  sealing: Sealing | null
  /** When the run began. */
  began: Date
}

/** What came of one source. */
export interface BackedUp {
  manifest: Manifest
  /** Null where the store locks nothing. */
  lock: LockReport | null
  concerns: Concern[]
  /** The key that it is signed with, where no epoch vouches for that. */
  unvouched: string | null
  /** Whether an epoch has given its word against it. */
  isDistrusted: boolean
}

/** Takes one backup of one source, under its locks. */
export async function backUp(context: Context, journal: Journal, wanted: BackUpRequest): Promise<BackedUp> {
  const { source, request } = wanted
  const began = context.now()
  const work = await workFor(source, request)
  await work.finishInterruptedRestore(context)
  const abandoned = await finishAbandonedHooks(context, source)
  // A hook may have to make the source usable, and is run under the lock: nothing is stopped while another run is waited for.
  const probed = hasHooks(source) ? undefined : await work.probe(context)
  const repository = await wanted.open()
  const room = repository.source(source.name)
  const locks = [['writer', 'exclusive'] as const, ['delete', 'shared'] as const]
  return withLocks(room, locks, lockOptions(context, `create ${source.name}`), async () => {
    const { encryption } = source.repository
    const sealing = await sealingFor(context, repository, encryption, { init: request.init })
    await renewOnce(context, repository, sealing?.signer.id)
    if (sealing === null && (await room.claim()) === undefined) await assertKeysThere(repository)
    await room.removeLeftovers()
    const capturing = { ...wanted, context, journal, room, sealing, began, work }
    const { value: captured, concerns } = await withHooks(
      context,
      source,
      async () => captureOne(capturing, probed ?? (await work.probe(context))),
      ({ written }) => written.manifest.id,
    )
    const { task, chain, written, lock } = captured
    if (lock !== null) {
      lock.until = await lockUntilKept(context, room, written.manifest, { chain, until: lock.until })
      if (written.manifest.keep_until !== null) {
        await extendCommonLocks(room, { manifests: [written.manifest], chain: [...chain, written.manifest] })
      }
    }
    if (request.verify) await readBack(context, wanted.pool, room, written)
    await room.summarize()
    return {
      manifest: written.manifest,
      lock,
      concerns: [...abandoned, ...concerns, ...((await work.concerns?.(task)) ?? [])],
      ...(await unvouchedKey(context, repository, sealing)),
    }
  })
}

type Capturing = Omit<BackUpTask, 'history' | 'plan' | 'probe'> & { work: SourceWork }

/** What is done while the source must hold still: all that depends on what it is, and the backup itself. */
async function captureOne({ work, ...known }: Capturing, probe: ProbedSource) {
  const { context, source, request, room, sealing } = known
  const { repository } = room
  const history = await surveyUsing(room, context, parentsIn)
  const adopted = await enterOwn(context, room, probe, { adopt: request.adopt, history, sealing })
  for (const { id, status, problem } of history.problems) {
    if (status === 'damaged') context.warn(`${source.name}: ${id}: ${problem}`)
  }
  if (history.apart.length > 0) context.warn(`${source.name}: ${passedOver(history.apart)}`)
  const everything = [...history.manifests, ...history.apart.map(({ member }) => member)]
  if (sealing === null) {
    await assertNeverSealed(repository, everything)
    if (everything.every(({ encryption }) => encryption !== undefined)) await assertKeysThere(repository)
  }
  const planned = planCreate({
    requested: request.type,
    ...history,
    identity: probe.identity,
    digestAlgorithm: source.digestAlgorithm,
    policy: source.chain,
    adopted,
    now: context.now(),
  })
  const plan = await planWithOpenParent(context, room, planned, sealing)
  for (const warning of plan.warnings) context.warn(`${source.name}: ${warning}`)
  if (sealing !== null && plan.parent === null) {
    const { warnOfOldKeys } = await import('../keys/repository-keys.js')
    await warnOfOldKeys(context, repository, source.repository, sealing.epoch)
  }
  await assertRoom(repository, plan, history.manifests, probe)
  const chain = chainBefore(plan, history.manifests)
  const lock = await extendLocksOf(room, chain)
  await extendCommonLocks(room, { manifests: history.manifests, chain })
  const task: BackUpTask = { ...known, history, plan, probe }
  const written = await withScratch(context, room, plan, scratch => work.captureAndWrite(task, scratch))
  return { task, chain, lock, written }
}

const renewed = new WeakSet<Repository>()

/** Once in a run: what recovers the repository without this program is that of this program. */
async function renewOnce(context: Context, repository: Repository, signer: string | undefined): Promise<void> {
  if (renewed.has(repository)) return
  renewed.add(repository)
  const { renewRecoveryOf, signRecoveryOf } = await import('../sealing/renew-recovery.js')
  const [isNew, isSigned] = await Promise.all([
    renewRecoveryOf(context, repository, { quiet: true }),
    signer === undefined || hasSigned(repository, signer),
  ])
  if (signer !== undefined && (isNew || !isSigned)) {
    await signRecoveryOf(context, repository)
  }
}

/** A host that was not let in, or has lost its state, makes backups that are not ours until somebody vouches for its key. */
async function unvouchedKey(
  context: Context,
  repository: Repository,
  sealing: Sealing | null,
): Promise<Pick<BackedUp, 'unvouched' | 'isDistrusted'>> {
  if (sealing === null) return { unvouched: null, isDistrusted: false }
  const keyring = await keyringOf(context, repository)
  const { id } = sealing.signer
  if (await keyring.vouchesFor(id)) return { unvouched: null, isDistrusted: false }
  return { unvouched: id, isDistrusted: (await keyring.distrustOf(id, undefined)) !== undefined }
}

/** What the new backup will depend on. */
function chainBefore({ parent }: CreatePlan, manifests: readonly Manifest[]): Manifest[] {
  return parent === null ? [] : chainOf(parent, new Map(manifests.map(member => [member.id, member])))
}

/**
 * A directory for a run's scratch files on the repository's disk, which has room for a copy when any has: inside a
 * pending backup that is never committed, so the next run clears it away when this one is killed.
 */
async function withScratch<T>(
  context: Context,
  room: SourceRoom,
  plan: CreatePlan,
  work: (scratch: string) => Promise<T>,
): Promise<T> {
  const desk = await room.begin(makeBackupId(context.now(), plan.type))
  try {
    const { localPath: path } = desk
    if (path === undefined) return await withStateScratch(context.stateDirectory, work)
    return await namingFull({ verb: 'writing', path, location: room.repository.location }, () => work(path))
  } finally {
    await desk.discard()
  }
}
