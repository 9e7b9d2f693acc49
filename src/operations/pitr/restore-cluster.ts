import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { recorded } from '../../journal/recorded.js'
import type { Journal } from '../../journal/types.js'
import { clusterAccount } from '../../sources/postgres/cluster-owner.js'
import { connectionParameter } from '../../sources/postgres/connection.js'
import type { Account } from '../../sources/postgres/run-as.js'
import { SOCKET_PORT } from '../../sources/postgres/server-settings.js'
import { lockOptions, withLocks } from '../locked.js'
import { unlessPruned } from '../pruned.js'
import { openSelected } from '../sealing/open-backup.js'
import { reselect } from '../select.js'
import { shellQuoted } from '../shell.js'
import { restoreCommandOf } from '../wal/restore-command.js'
import { majorOf } from './base-facts.js'
import { layOut } from './lay-out.js'
import { withLayoutRecord } from './layout-record.js'
import { newMark } from './new-directory.js'
import { type PreparedRestore, prepareClusterRestore } from './plan-cluster.js'
import type { ClusterRestorePlan, RestoreClusterRequest, RestoreClusterResult } from './requests.js'
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
  return (await prepareClusterRestore(context, request)).plan
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
  for (const note of plan.notes) context.warn(`${plan.source}: ${note}`)
  const settings = {
    recovery: recoveryOf(request, prepared),
    // Without recovery from the archive the copy goes on with the timeline of the live cluster: two would write the same.
    keepArchiving: request.keepArchiving && prepared.recoveryTimeline !== null,
    major: majorOf(facts),
  }
  const { target: directory, tablespaces } = plan
  const layout = { selected, directory, tablespaces, account, settings, mark: newMark() }
  const takeAway = await withLayoutRecord(context, plan.source, layout, () => layOut(context, layout))
  const run = request.start === null ? null : await started(context, request, prepared, { account, takeAway })
  return {
    command: request.command,
    id: plan.id,
    target: plan.target,
    captured_at: plan.captured_at,
    previous: null,
    undo: null,
    checks: run?.copy.checks ?? [],
    duration_ms: Math.max(0, context.now().getTime() - began.getTime()),
    requested_at: request.target.kind === 'time' ? request.target.at.toISOString() : null,
    system_identifier: plan.system_identifier,
    recovery_target: plan.recovery_target,
    timeline: plan.timeline,
    notes: plan.notes,
    reached: run?.copy.state ?? null,
    server: run?.server ?? null,
    next: run === null ? startOf(context, plan, account) : null,
  }
}

function recoveryOf(
  { program, flags, targetAction }: RestoreClusterRequest,
  { plan, setting, recoveryTimeline }: PreparedRestore,
): Parameters<typeof layOut>[1]['settings']['recovery'] {
  if (recoveryTimeline === null) return null
  const command = restoreCommandOf({ program, flags }, plan.source)
  return { restoreCommand: command, target: setting, timeline: recoveryTimeline, action: targetAction }
}

interface StartedCopy {
  copy: RunningCopy
  server: RestoreClusterResult['server']
}

async function started(
  context: Context,
  request: RestoreClusterRequest,
  { plan, facts, setting, recoveryTimeline }: PreparedRestore,
  { account, takeAway }: { account: Account | null; takeAway: () => Promise<void> },
): Promise<StartedCopy> {
  const source = request.source ?? null
  // Without a target there is nowhere to pause.
  const pauses = request.targetAction === 'pause' && setting !== null
  try {
    const programs = await serverPrograms(context, facts, source)
    const fetchesFromBucket = recoveryTimeline !== null && request.repositories.some(({ s3 }) => s3 !== undefined)
    const restored = { directory: plan.target, facts, account, source, pauses, fetchesFromBucket }
    const copy = await runRestored(context, programs, restored)
    if (request.start?.stop === true) {
      await copy.server.stop()
      copy.server.forget()
      return { copy, server: null }
    }
    copy.server.leave()
    return { copy, server: serverOf(copy, plan.target, asOwner(account, context)) }
  } catch (error) {
    if (context.signal.aborted) await takeAway()
    else if (error instanceof NexusError) {
      const hint = `the restored files stay in ${plan.target}${error.hint === undefined ? '' : `; ${error.hint}`}`
      throw new NexusError(error.kind, error.code, error.message, { hint, cause: error.cause })
    }
    throw error
  }
}

function serverOf({ server, session }: RunningCopy, directory: string, by: string): StartedCopy['server'] {
  const { room, log, programs } = server
  const user = connectionParameter(session.connection, 'user') ?? 'postgres'
  const database = connectionParameter(session.connection, 'dbname') ?? 'postgres'
  const program = (name: string) => shellQuoted(join(programs.directory, name))
  return {
    socket_directory: room,
    port: SOCKET_PORT,
    log,
    connect: `${by}${program('psql')} -h ${room} -p ${SOCKET_PORT} -U ${shellQuoted(user)} -d ${shellQuoted(database)}`,
    stop: `${by}${program('pg_ctl')} stop -w -D ${shellQuoted(directory)} && rm -r ${room}`,
  }
}

/** The command that starts the server for good; Debian keeps the configuration elsewhere. */
function startOf(context: Context, { target }: ClusterRestorePlan, account: Account | null): string {
  const own = existsSync(join(target, 'postgresql.conf')) ? '' : ` -o '-c config_file=/PATH/OF/postgresql.conf'`
  return `${asOwner(account, context)}pg_ctl start -w -D ${shellQuoted(target)}${own}`
}

function asOwner(account: Account | null, { operator }: Context): string {
  if (account === null) return ''
  return `${operator.sudo_user === null ? 'runuser -u' : 'sudo -u'} ${shellQuoted(account.name)} -- `
}
