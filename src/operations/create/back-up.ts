import type { SourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import type { WorkerPool } from '../../image/workers/pool.js'
import type { Journal } from '../../journal/types.js'
import { makeBackupId } from '../../repository/layout.js'
import type { Manifest } from '../../repository/manifest.js'
import type { Sealing } from '../../repository/sealed/sealed-backup.js'
import type { Repository, SourceRoom } from '../../repository/types.js'
import { captureFiles } from '../../sources/files/capture.js'
import { captureCluster, type KnownCluster, lookAtCluster } from '../../sources/postgres/capture.js'
import { captureSqlite } from '../../sources/sqlite/capture.js'
import { finishInterruptedDatabaseRestore } from '../databases/interrupted-restore.js'
import { warnOfOldKeys } from '../keys/repository-keys.js'
import { lockOptions, withLocks } from '../locked.js'
import type { CreateRequest } from '../requests.js'
import type { OpenedBackup } from '../sealing/open-backup.js'
import { assertNeverSealed, sealingFor } from '../sealing/sealing-for.js'
import { withStateScratch } from '../state-directory.js'
import { type Survey, surveyAnyway } from '../survey.js'
import { finishInterruptedTrees } from '../trees/interrupted-trees.js'
import { type CreatePlan, planCreate, planForCaptured } from './create-plan.js'
import { assertRoom } from './free-space.js'
import { planWithOpenParent } from './open-parent.js'
import { probeSource } from './probe-source.js'
import { readBack } from './read-back.js'
import { writeFileBackup } from './write-file-backup.js'
import { writeTreeBackup } from './write-tree-backup.js'

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
  /** What the backup is sealed with; null where the repository is not encrypted. */
  sealing: Sealing | null
  /** When the run began. */
  began: Date
  /** Only of a cluster. */
  known: KnownCluster | undefined
}

/** Takes one backup of one source, under its locks. */
export async function backUp(context: Context, journal: Journal, wanted: BackUpRequest): Promise<Manifest> {
  const { source, request } = wanted
  const began = context.now()
  await finishInterruptedRestore(context, source)
  const probe = await probeSource(context, source)
  const repository = await wanted.open()
  const room = repository.source(source.name)
  const locks = [['writer', 'exclusive'] as const, ['delete', 'shared'] as const]
  return withLocks(room, locks, lockOptions(context, `create ${source.name}`), async () => {
    const { encryption } = source.repository
    const sealing = await sealingFor(context, repository, encryption, { init: request.init })
    await room.removeLeftovers()
    const adopted = await room.enter(probe.claim, { adopt: request.adopt, now: context.now() })
    const history = await surveyAnyway(room, context)
    for (const { id, status, problem } of history.problems) {
      if (status === 'damaged') context.warn(`${source.name}: ${id}: ${problem}`)
    }
    if (sealing === null) assertNeverSealed(repository, history.manifests)
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
      await warnOfOldKeys(context, repository, source.repository, sealing.epoch)
    }
    await assertRoom(repository, plan, history.manifests, probe)
    const written = await captureAndWrite({
      ...wanted,
      context,
      journal,
      room,
      history,
      plan,
      sealing,
      began,
      known: probe.known,
    })
    if (request.verify) await readBack(context, wanted.pool, room, written)
    return written.manifest
  })
}

async function finishInterruptedRestore(context: Context, source: SourceSettings): Promise<void> {
  if (source.kind === 'sqlite') await finishInterruptedDatabaseRestore(context, source)
  else if (source.kind === 'files') await finishInterruptedTrees(context, source)
  else if (source.dataDirectory !== null) {
    await finishInterruptedTrees(context, { name: source.name, paths: [source.dataDirectory] })
  }
}

async function captureAndWrite(task: BackUpTask): Promise<OpenedBackup> {
  const { context, room, plan, source } = task
  return withScratch(context, room, plan, async scratch => {
    if (source.kind === 'sqlite') {
      const uid = process.geteuid?.() ?? 0
      const { signal, now } = context
      const capture = await captureSqlite(source.path, { uid, staging: scratch, signal, now })
      const { device, inode, page_size } = capture.facts
      const settled = planForCaptured(plan, { kind: 'sqlite', device, inode, page_size })
      for (const warning of settled.warnings.slice(plan.warnings.length)) context.warn(`${source.name}: ${warning}`)
      return closing(capture, () => writeFileBackup({ ...task, plan: settled }, { source, capture, scratch }))
    }
    const capture =
      source.kind === 'postgres'
        ? await captureCluster(task.known ?? (await lookAtCluster(source, context)), { ...context, staging: scratch })
        : await captureFiles(source, context)
    return closing(capture, () => writeTreeBackup(task, { capture, scratch }))
  })
}

async function closing<T>(capture: { close(): Promise<void> }, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } finally {
    await capture.close()
  }
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
    if (desk.localPath === undefined) return await withStateScratch(context.stateDirectory, work)
    return await work(desk.localPath)
  } finally {
    await desk.discard()
  }
}
