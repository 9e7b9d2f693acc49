import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { recorded } from '../../journal/recorded.js'
import type { Journal } from '../../journal/types.js'
import { isoShort } from '../../model/micros.js'
import { isBucket } from '../../repository/storage/s3/settings.js'
import { clusterAccount } from '../../sources/postgres/cluster-owner.js'
import { connectionParameter } from '../../sources/postgres/connection.js'
import type { Account } from '../../sources/postgres/run-as.js'
import { SOCKET_PORT } from '../../sources/postgres/server-settings.js'
import { historyName, parseLsn } from '../../sources/postgres/wal-names.js'
import { lockOptions, withLocks } from '../locked.js'
import { unlessPruned } from '../pruned.js'
import { openSelected } from '../sealing/open-backup.js'
import { reselect } from '../select.js'
import { shellQuoted } from '../shell.js'
import { restoreCommandOf } from '../wal/restore-command.js'
import { archiveOf, tryRestoreCommand } from '../wal/try-restore-command.js'
import { majorOf } from './base-facts.js'
import { layOut } from './lay-out.js'
import { withLayoutRecord } from './layout-record.js'
import { newMark } from './new-directory.js'
import { asOwner, nextServer, programOf, stopCommand } from './next-server.js'
import { type PreparedRestore, prepareClusterRestore } from './plan-cluster.js'
import type { ClusterRestorePlan, ReachedTarget, RestoreClusterRequest, RestoreClusterResult } from './requests.js'
import { type RunningCopy, runRestored, serverPrograms } from './run-restored.js'

/**
 * What the restore of a cluster would do: printed first, and all there is with `--dry-run`.
 *
 * @throws NexusError for everything that can be refused before a byte is written: `not-found` for a target outside every
 *   window, `damage` for a missing segment, `refused` for a target that exists
 */
export async function planClusterRestore(
  context: Context,
  request: RestoreClusterRequest,
): Promise<ClusterRestorePlan> {
  const prepared = await prepareClusterRestore(context, request)
  if (request.dryRun) await tryRecovery(context, request, prepared, await clusterAccount(prepared.facts))
  return prepared.plan
}

/**
 * Restores a cluster into a new data directory: the base is staged beside it, told how far to recover, and put in its
 * place; with `start` a private server recovers it and is asked how far it came.
 *
 * @throws NexusError as the plan does; `server_died` when recovery failed: the copy then stays where it is
 */
export async function restoreCluster(
  context: Context,
  journal: Journal,
  request: RestoreClusterRequest,
): Promise<RestoreClusterResult> {
  const began = context.now()
  const prepared = await prepareClusterRestore(context, request)
  const { room } = prepared.selected
  const subject = { operation: request.command, source: prepared.plan.source, repository: room.repository.location }
  const purpose = lockOptions(context, `${request.command} ${prepared.plan.source}`)
  return recorded(
    context,
    journal,
    subject,
    () =>
      withLocks(room, [['delete', 'shared']], purpose, async () => {
        const selected = await openSelected(context, await reselect(context, prepared.selected))
        return unlessPruned(room, prepared.plan.chain, () =>
          carryOut(context, request, { ...prepared, selected }, began),
        )
      }),
    result => ({ result: 'done', backup: result.id }),
  )
}

async function carryOut(
  context: Context,
  request: RestoreClusterRequest,
  prepared: PreparedRestore,
  began: Date,
): Promise<RestoreClusterResult> {
  const { plan, selected, facts } = prepared
  const account = await clusterAccount(facts)
  await tryRecovery(context, request, prepared, account)
  for (const note of plan.notes) context.warn(`${plan.source}: ${note}`)
  const settings = {
    recovery: recoveryOf(request, prepared),
    // Without recovery from the archive the copy goes on with the timeline of the live cluster: two would write the same.
    keepArchiving: request.keepArchiving && prepared.recoveryTimeline !== null,
    major: majorOf(facts),
  }
  const { target: directory, tablespaces, waldir } = plan
  const layout = { selected, directory, tablespaces, waldir, account, settings, mark: newMark() }
  const source = request.source ?? null
  const { keepArchiving } = settings
  const takeAway = await withLayoutRecord(context, plan.source, layout, () => layOut(context, layout))
  const run = request.start === null ? null : await started(context, request, prepared, { account, takeAway })
  const pauses = pausesAt(request, prepared)
  const { manifest } = selected
  const goesOn = run !== null && shutsDownAt(request, prepared)
  const unstarted = { directory, facts, manifest, account, source, pauses: pauses && !goesOn, goesOn, keepArchiving }
  const next = run === null || goesOn ? await nextServer(context, unstarted) : { next: null, prepared: null }
  return {
    command: request.command,
    id: plan.id,
    target: plan.target,
    captured_at: plan.captured_at,
    previous: null,
    undo: null,
    checks: run?.copy.checks ?? [],
    duration_ms: Math.max(0, context.now().getTime() - began.getTime()),
    requested_at: request.target.kind === 'time' ? isoShort(request.target.at.first) : null,
    system_identifier: plan.system_identifier,
    recovery_target: plan.recovery_target,
    last_commit: plan.last_commit,
    next_commit: plan.next_commit,
    timeline: plan.timeline,
    notes: plan.notes,
    ...(plan.damage === undefined ? {} : { damage: plan.damage }),
    reached: run === null ? null : reachedBy(run.copy.state, plan),
    server: run?.server ?? null,
    ...next,
  }
}

/**
 * How far a server came. One that stops at a position does not tell the time of the commit there, which it has replayed
 * (PostgreSQL xlogrecovery.c, recoveryStopsAfter).
 */
export function reachedBy(
  state: ReachedTarget,
  { last_commit: last, recovery_target: target }: Pick<ClusterRestorePlan, 'last_commit' | 'recovery_target'>,
): ReachedTarget {
  const [position, commit] = [parseLsn(state.lsn), parseLsn(last?.lsn ?? '')]
  const isReplayed = last !== null && position !== undefined && commit !== undefined && position > commit
  return isReplayed && (target !== null || state.at === null || state.at < last.at) ? { ...state, at: last.at } : state
}

function recoveryOf(
  { program, flags, untrusted, targetAction }: RestoreClusterRequest,
  { plan, setting, recoveryTimeline }: PreparedRestore,
): Parameters<typeof layOut>[1]['settings']['recovery'] {
  if (recoveryTimeline === null) return null
  const command = restoreCommandOf({ program, flags, untrusted }, plan.source)
  return { restoreCommand: command, target: setting, timeline: recoveryTimeline, action: targetAction }
}

/** A server that cannot fetch what its recovery needs is found out before a byte is staged. */
async function tryRecovery(
  context: Context,
  request: RestoreClusterRequest,
  prepared: PreparedRestore,
  account: Account | null,
): Promise<void> {
  const recovery = recoveryOf(request, prepared)
  if (recovery === null) return
  const { plan, facts, selected } = prepared
  await tryRestoreCommand(context, {
    command: recovery.restoreCommand,
    account,
    file: plan.wal?.from ?? facts.start_segment ?? historyName(plan.timeline),
    needed: plan.wal !== null,
    archive: archiveOf(context, selected, facts, request.untrusted),
    fromBucket: isBucket(selected.room.repository.location),
  })
}

interface StartedCopy {
  copy: RunningCopy
  server: RestoreClusterResult['server']
}

async function started(
  context: Context,
  request: RestoreClusterRequest,
  prepared: PreparedRestore,
  { account, takeAway }: { account: Account | null; takeAway: () => Promise<void> },
): Promise<StartedCopy> {
  const { plan, facts, recoveryTimeline } = prepared
  const source = request.source ?? null
  const pauses = pausesAt(request, prepared)
  try {
    const programs = await serverPrograms(context, facts, source)
    const fetchesFromBucket = recoveryTimeline !== null && request.repositories.some(({ s3 }) => s3 !== undefined)
    const shutsDown = shutsDownAt(request, prepared)
    const restored = { directory: plan.target, facts, account, source, pauses, shutsDown, fetchesFromBucket }
    const copy = await runRestored(context, programs, restored)
    if (request.start?.stop === true || shutsDown) {
      await copy.server.stop()
      copy.server.forget()
      return { copy: shutsDown ? { ...copy, state: { ...copy.state, paused: false } } : copy, server: null }
    }
    copy.server.leave()
    return { copy, server: serverOf(context, copy, { account, directory: plan.target }) }
  } catch (error) {
    if (context.signal.aborted) await takeAway()
    else if (error instanceof NexusError) {
      const hint = `the restored files stay in ${plan.target}${error.hint === undefined ? '' : `; ${error.hint}`}`
      throw new NexusError(error.kind, error.code, error.message, { hint, cause: error.cause })
    }
    throw error
  }
}

/**
 * Whether the server stands still at its target. Without a target there is nowhere to. One that is to shut down there is
 * looked at before, as long as it is run by us.
 */
function pausesAt(request: RestoreClusterRequest, prepared: PreparedRestore): boolean {
  const isLookedAt = request.start !== null && shutsDownAt(request, prepared)
  return isLookedAt || (request.targetAction === 'pause' && prepared.setting !== null)
}

function shutsDownAt({ targetAction }: RestoreClusterRequest, { setting }: PreparedRestore): boolean {
  return targetAction === 'shutdown' && setting !== null
}

function serverOf(
  context: Context,
  { server, session }: RunningCopy,
  { account, directory }: { account: Account | null; directory: string },
): StartedCopy['server'] {
  const { room, log, programs } = server
  const user = connectionParameter(session.connection, 'user') ?? 'postgres'
  const database = connectionParameter(session.connection, 'dbname') ?? 'postgres'
  const psql = `${asOwner(account, context)}${programOf(programs, 'psql')}`
  return {
    socket_directory: room,
    port: SOCKET_PORT,
    log,
    connect: `${psql} -h ${room} -p ${SOCKET_PORT} -U ${shellQuoted(user)} -d ${shellQuoted(database)}`,
    stop: stopCommand(programs, { account, directory, room }, context),
  }
}
