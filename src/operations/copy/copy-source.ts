import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { recorded } from '../../journal/recorded.js'
import type { Journal } from '../../journal/types.js'
import type { CopyMember, CopyPlan } from '../../policy/copy-plan.js'
import { sameClaimant } from '../../repository/claim.js'
import { keysDirectory } from '../../repository/keys/key-layout.js'
import type { Manifest } from '../../repository/manifest.js'
import { initRepository, openRepository } from '../../repository/open.js'
import type { Claim, Entry, Repository, SourceRoom } from '../../repository/types.js'
import { chainOf } from '../chain-members.js'
import { extendCommonLocks } from '../extend-common-locks.js'
import { extendLocksOf } from '../extend-locks.js'
import { keepKeys, putBackKeys } from '../keys/kept-keys.js'
import { lockOptions, withLocks } from '../locked.js'
import { unlessPruned } from '../pruned.js'
import type { CopyTask } from '../requests.js'
import type { CopyReport } from '../results.js'
import { assertKeysThere } from '../sealing/keys-there.js'
import { signRecoveryOf } from '../sealing/renew-recovery.js'
import { shellQuoted } from '../shell.js'
import { attestLines } from './attest-lines.js'
import { copyBackup } from './copy-backup.js'
import { copyKeys, inPlain, isSealed } from './copy-keys.js'
import { copyWal, missingWal } from './copy-wal.js'
import { idsAfter, manifestsOf, type PlannedCopy, planSourceCopy } from './plan-source-copy.js'

/** A copy's way, opened. */
interface Way {
  origin: SourceRoom
  target: SourceRoom
}

/** What would be copied of one source, taking no lock and writing nothing. */
export async function previewCopy(context: Context, task: CopyTask, init: boolean): Promise<CopyReport> {
  assertOutside(task)
  const origin = (await openRepository(task.from)).source(task.source)
  await assertBackups(origin)
  const target = await existing(task, init)
  const planned = await planSourceCopy(context, origin, target)
  const { found, plan, bytes, there } = planned
  assertSealedAlike(task, { origin, plan, sealed: await sealsInto(task, target) })
  const wal = await missingWal(context, { origin, found }, target, idsAfter(there, plan))
  const files = wal.reduce((sum, { names }) => sum + names.length, 0)
  return { ...reportOf(task, planned, origin), backups: plan.copy.map(({ id }) => id), wal: files, bytes }
}

/**
 * Brings another repository up to date with one source: backups as they are stored, parents before children, then WAL.
 * An interrupted copy goes on where it stopped.
 *
 * @throws NexusError refused `copy_diverged`, `same_repository`, `source_claimed`; what reading and writing throw
 */
export async function copySource(
  context: Context,
  journal: Journal,
  task: CopyTask,
  init: boolean,
): Promise<CopyReport> {
  assertOutside(task)
  const origin = (await openRepository(task.from)).source(task.source)
  await assertBackups(origin)
  const { source, to } = task
  const subject = { operation: 'copy', source, repository: to.path }
  return recorded(
    context,
    journal,
    subject,
    async () => {
      // What is refused makes no repository either.
      if (init && (await existing(task, init)) === undefined) await previewCopy(context, task, init)
      const repository = init ? await initRepository(to, { now: context.now() }) : await openTarget(task)
      assertAnother(origin.repository, repository)
      const target = repository.source(source)
      const options = lockOptions(context, `copy ${source}`)
      // Nobody prunes what is being read, nobody else writes where it goes.
      return withLocks(origin, [['delete', 'shared']], options, () =>
        withLocks(target, [['writer', 'exclusive']], options, () => carryOut(context, task, { origin, target })),
      )
    },
    ({ problems }) => ({ result: problems.length > 0 ? 'partial' : 'done' }),
  )
}

/** Whether nothing may be stored in plain where the copy goes. */
export async function sealsInto({ to }: Pick<CopyTask, 'to'>, target: SourceRoom | undefined): Promise<boolean> {
  const isWanted = to.encryption !== undefined
  return target === undefined ? isWanted : isSealed(target.repository, isWanted)
}

/** @throws NexusError refused `copy_unencrypted` */
function assertSealedAlike(
  { to }: CopyTask,
  { origin, plan, sealed }: { origin: SourceRoom; plan: CopyPlan<Manifest & CopyMember>; sealed: boolean },
): void {
  const plain = sealed ? plan.copy.find(({ encryption }) => encryption === undefined) : undefined
  if (plain !== undefined) throw inPlain(plain.id, origin.repository.location, to.path)
}

/** A copy inside the repository that it is made from is lost with it, and lies among its backups. */
function assertOutside({ from, to }: CopyTask): void {
  if (!to.path.startsWith(`${from.path}/`)) return
  throw new NexusError('refused', 'copy_inside', `${to.path} is inside ${from.path}, which is copied from`, {
    hint: 'name a place outside of it with --to, best on another disk',
  })
}

async function carryOut(context: Context, task: CopyTask, { origin, target }: Way): Promise<CopyReport> {
  await target.removeLeftovers()
  // Without its keys it would pass for one that is not encrypted.
  await putBackKeys(context, target.repository)
  // Whose the name is comes before what is to be copied: another machine's history is always another one.
  const present = await target.claim()
  if (present !== undefined) await claimTarget(context, { origin, target }, present)
  const planned = await planSourceCopy(context, origin, target)
  const { found, plan, bytes: total, there } = planned
  const sealed = await sealsInto(task, target)
  assertSealedAlike(task, { origin, plan, sealed })
  const isPlain = ({ encryption }: Manifest) => encryption === undefined
  if (plan.copy.some(isPlain) && !manifestsOf(there).some(isPlain)) await assertKeysThere(target.repository)
  if (present === undefined && plan.copy.length > 0) await claimTarget(context, { origin, target })
  // Also when no backup is to be copied: the log may be sealed for an epoch that has none yet.
  await copyKeys(context, origin.repository, target.repository)
  await keepKeys(context, target.repository)
  const epochs = await epochsIn(origin)
  const unattested = await attestLines(context, { origin, target }, found)
  await signUnlessStateless(context, target.repository)
  const report = { ...reportOf(task, planned, origin), ...(unattested === null ? {} : { unattested }) }
  let done = 0
  const advance = (bytes: number) => {
    done += bytes
    context.progress({ phase: `${task.source}: copying to ${target.repository.location}`, done, total })
  }
  for (const { id, bytes_stored: bytes } of plan.copy) {
    report.bytes += await unlessPruned(origin, [id], () =>
      copyBackup(context, { origin, target, advance }, { id, bytes }),
    )
    report.backups.push(id)
  }
  if (plan.copy.length > 0) await lockChains(target, plan.copy, there)
  else await extendCommonLocks(target, { manifests: manifestsOf(there), chain: [] })
  await target.summarize()
  const wal = await missingWal(context, { origin, found }, target, idsAfter(there, plan))
  // Files of the log may be sealed to an epoch that was begun while the backups were copied.
  if (wal.length > 0 && (await epochsIn(origin)) !== epochs) {
    await copyKeys(context, origin.repository, target.repository)
  }
  for (const missing of wal) {
    await copyWal(context, missing, { target, sealed }, bytes => {
      report.bytes += bytes
      report.wal += 1
      context.progress({ phase: `${task.source}: copying the log`, done: report.wal, total: undefined, unit: 'items' })
    })
  }
  return report
}

/** A copy needs no state directory; then nobody signs its root. */
async function signUnlessStateless(context: Context, repository: Repository): Promise<void> {
  try {
    await signRecoveryOf(context, repository)
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'state_unusable') throw error
  }
}

/** Tells whether anything was begun below keys since it was last asked. */
async function epochsIn({ repository: { storage } }: SourceRoom): Promise<string> {
  const names = (await storage.list(keysDirectory)).map(({ name }) => name)
  return names.sort().join()
}

/** What the new copies depend on is locked as long as they are themselves. */
async function lockChains(target: SourceRoom, copied: readonly Manifest[], there: readonly Entry[]): Promise<void> {
  const known = new Map([...manifestsOf(there), ...copied].map(manifest => [manifest.id, manifest]))
  const chains = copied.flatMap(manifest => chainOf(manifest, known))
  await extendLocksOf(target, chains)
  await extendCommonLocks(target, { manifests: [...known.values()], chain: chains })
}

/** The copy belongs to whom the original belongs; where that changed hands (`create --adopt`), so does the copy. */
export async function claimTarget(context: Context, { origin, target }: Way, present?: Claim): Promise<void> {
  const claim = await origin.claim()
  if (claim === undefined) return
  const former = await origin.formerClaims()
  const adopt = present !== undefined && former.some(earlier => sameClaimant(earlier, present))
  await target.enter(claim, { adopt, now: context.now() })
}

function reportOf(
  { source, to }: CopyTask,
  { plan, squatted, found, there }: PlannedCopy,
  origin: SourceRoom,
): CopyReport {
  const from = origin.repository.location
  const taken = new Set(there.map(({ id }) => id))
  const problem = (status: 'damaged' | 'untrusted') => (one: { id: string; problem: string }) => {
    return { id: one.id, source, repository: from, status, problem: `not copied: ${one.problem}` }
  }
  const apart = found.apart
    .filter(({ member }) => !taken.has(member.id))
    .map(({ member: { id }, problem: why }) => ({ id, problem: `it ${why}` }))
  const problems = [...[...plan.left, ...squatted].map(problem('damaged')), ...apart.map(problem('untrusted'))]
  return { source, from, to: to.path, backups: [], wal: 0, bytes: 0, problems }
}

/** For a preview: a repository that `--init` would make holds nothing yet. */
async function existing(task: CopyTask, init: boolean): Promise<SourceRoom | undefined> {
  try {
    return (await openTarget(task)).source(task.source)
  } catch (error) {
    if (init && error instanceof NexusError && error.code === 'repository_missing') return undefined
    throw error
  }
}

/** The repository that is copied to. @throws NexusError not-found `repository_missing` with the command that makes it */
export async function openTarget({ source, to }: Pick<CopyTask, 'source' | 'to'>): Promise<Repository> {
  try {
    return await openRepository(to)
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'repository_missing') throw error
    const command = `nexus-backup copy ${source} --to ${shellQuoted(to.path)} --init`
    throw new NexusError(error.kind, error.code, error.message, {
      hint: `is the disk mounted? To make a new repository there: ${command}`,
      cause: error.cause,
    })
  }
}

async function assertBackups(origin: SourceRoom): Promise<void> {
  const { repository, name } = origin
  const names = await repository.sources()
  if (names.includes(name)) return
  throw new NexusError('not-found', 'source_not_found', `there are no backups of ${name} in ${repository.location}`, {
    hint:
      names.length === 0 ? 'nothing was backed up there yet: nexus-backup create' : `there are: ${names.join(', ')}`,
  })
}

export function assertAnother(origin: Repository, target: Repository): void {
  if (origin.id !== target.id) return
  throw new NexusError('refused', 'same_repository', `${target.location} is the repository that is copied from`, {
    hint: 'name another one with --to',
  })
}
