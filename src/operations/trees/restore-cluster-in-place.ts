import type { PostgresSourceSettings, SourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { isBucket } from '../../repository/storage/s3/settings.js'
import { clusterAccount } from '../../sources/postgres/cluster-owner.js'
import type { RecoverySettings } from '../../sources/postgres/recovery-settings.js'
import { historyName } from '../../sources/postgres/wal-names.js'
import { nameExists as exists } from '../../system/names.js'
import { besideTarget, stagingPlace, whileStaging } from '../../system/staging.js'
import { trustedPath } from '../../system/trusted-path.js'
import { type BaseFacts, baseFacts, majorOf } from '../pitr/base-facts.js'
import { layOut } from '../pitr/lay-out.js'
import { newMark } from '../pitr/new-directory.js'
import { movedWal } from '../pitr/plan-cluster.js'
import { plannedBackup } from '../planned-backup.js'
import type { RecoveryCalls, RestorePlan } from '../requests.js'
import type { RestoreResult } from '../results.js'
import type { Selected } from '../select.js'
import { previousName } from '../set-aside.js'
import { restoreCommandOf } from '../wal/restore-command.js'
import { archiveOf, tryRestoreCommand } from '../wal/try-restore-command.js'
import { finishInterruptedTrees } from './interrupted-trees.js'
import { putTreesInPlace } from './tree-in-place.js'
import { assertReplaceable } from './tree-targets.js'

/** A restore of a cluster to where its configuration says that the data directory is. */
export interface ClusterInPlace {
  source: SourceSettings
  selected: Selected
  /** How the server's restore_command calls this program. */
  recovery: RecoveryCalls
  /** Name of what is replaced, from the plan that the operator saw. */
  previous?: string | null | undefined
}

/**
 * What it would do.
 *
 * @throws NexusError `refused`: no data directory configured, tablespaces elsewhere, a running server without a service
 */
export function planClusterInPlace(context: Context, { source, selected, previous }: ClusterInPlace): RestorePlan {
  const { manifest } = selected
  const target = trustedPath(directoryOf(source))
  assertNoTablespaces(source.name, baseFacts(manifest))
  const replaces = exists(target)
  const aside = previous ?? previousName(target, context.now())
  assertReplaceable(source.name, [{ staged: '', target, previous: aside }], source.service)
  return {
    ...plannedBackup(selected),
    target,
    in_place: true,
    replaces,
    previous: replaces ? aside : null,
    service: source.service,
    bytes: manifest.bytes_source,
  }
}

/**
 * Puts the cluster of a backup, as it was at its own end, in the place of the live one. The server recovers no further than
 * the base needs and goes on with a timeline of its own: on the old one it would write segments that the archive holds
 * already with another content. The caller holds the lock.
 */
export async function restoreClusterInPlace(
  context: Context,
  { source, selected, recovery, previous }: ClusterInPlace,
): Promise<RestoreResult> {
  const { manifest } = selected
  const began = context.now()
  const path = directoryOf(source)
  await finishInterruptedTrees(context, { name: source.name, paths: [path], service: source.service })
  const target = trustedPath(path)
  const facts = baseFacts(manifest)
  const moved = movedWal(facts)
  if (moved !== null) context.warn(`${source.name}: ${moved}`)
  const account = await clusterAccount(facts)
  const place = stagingPlace(target, `nexus-restore-${manifest.id.slice(-4)}-${process.pid}`)
  const { staged } = place
  const mark = newMark()
  // Made by layOut, and left by it when it is killed.
  const unfinished = besideTarget(staged, mark)
  const placement = {
    source: source.name,
    moves: [{ staged, target, previous: previous ?? previousName(target, began) }],
    disposable: true,
    scratch: [unfinished, `${unfinished}.digests`],
    service: source.service,
  }
  const settings = settingsOf(source.name, facts, recovery)
  await tryRestoreCommand(context, {
    command: restoreCommandOf(recovery, source.name),
    account,
    file: facts.start_segment ?? historyName(facts.timeline),
    needed: false,
    archive: archiveOf(context, selected, facts, recovery.untrusted),
    fromBucket: isBucket(selected.room.repository.location),
  })
  const placed = await putTreesInPlace(context, placement, async () => {
    await whileStaging(place, async ({ path: directory }) => {
      await layOut(context, { selected, directory, tablespaces: [], account, settings, mark })
    })
  })
  const aside = placed[0]?.previous ?? null
  return {
    command: 'restore',
    id: manifest.id,
    target,
    captured_at: manifest.captured_at,
    previous: aside,
    undo: aside === null ? null : `nexus-backup restore ${source.name} --rollback --confirm ${source.name}`,
    checks: [{ name: 'restored', status: 'ok', detail: 'every block as it was captured' }],
    duration_ms: Math.max(0, context.now().getTime() - began.getTime()),
  }
}

/**
 * The configured data directory of a cluster: the server that could tell may be the very thing that is lost.
 *
 * @param file the configuration, for the hint
 * @throws NexusError `refused` (`data_directory_missing`)
 */
export function directoryOf(source: SourceSettings, file: string | null = null): string {
  const { dataDirectory } = clusterOf(source)
  if (dataDirectory !== null) return dataDirectory
  const message = `the configuration does not say where the data directory of ${source.name} is`
  throw new NexusError('refused', 'data_directory_missing', message, {
    hint: `set sources.${source.name}.data_directory in ${file ?? 'the configuration'}, or restore beside it with --to PATH`,
  })
}

function clusterOf(source: SourceSettings): PostgresSourceSettings {
  if (source.kind === 'postgres') return source
  throw new NexusError('refused', 'kind_differs', `${source.name} is configured as ${source.kind}, not as a cluster`, {
    hint: 'restore it beside with --to PATH, or put the kind in the configuration right',
  })
}

/** Theirs are directories in use elsewhere, which no rename of the data directory sets aside. */
function assertNoTablespaces(name: string, { tablespaces }: BaseFacts): void {
  if (tablespaces.length === 0) return
  const maps = tablespaces.map(({ path }) => `--tablespace-map ${path}=NEW`).join(' ')
  throw new NexusError('refused', 'tablespaces_in_place', `${name} has tablespaces outside of its data directory`, {
    hint: `restore it to new directories: nexus-backup restore ${name} --to PATH ${maps}`,
  })
}

function settingsOf(name: string, facts: BaseFacts, calls: RecoveryCalls): RecoverySettings {
  const command = restoreCommandOf(calls, name)
  const target = { name: 'recovery_target', value: 'immediate' }
  const recovery = { restoreCommand: command, target, timeline: facts.timeline, action: 'promote' as const }
  return { recovery, keepArchiving: true, major: majorOf(facts) }
}
