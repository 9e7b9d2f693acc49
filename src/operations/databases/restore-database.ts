import { existsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { SourceSettings, SqliteSourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { assertOnlyName } from '../../sources/sqlite/other-names.js'
import { leaveStaging, stagingPlace, whileStaging } from '../../system/staging.js'
import { hasForeignLink, trustedPath } from '../../system/trusted-path.js'
import { plannedBackup } from '../planned-backup.js'
import type { RestorePlan, RestoreRequest } from '../requests.js'
import type { RestoreResult } from '../results.js'
import type { Selected } from '../select.js'
import { previousName } from '../set-aside.js'
import { shellQuoted } from '../shell.js'
import { finishInterruptedDatabaseRestore } from './interrupted-restore.js'
import { notKept, putInPlace } from './put-in-place.js'
import { damagedHint, stageRestore } from './stage-restore.js'

/** What a restore of a database would do. @throws NexusError for everything that can be refused before any byte is written */
export async function planDatabaseRestore(
  context: Context,
  request: RestoreRequest,
  selected: Selected,
): Promise<RestorePlan> {
  const { manifest } = selected
  const backup = plannedBackup(selected)
  const target = await targetOf(context, request, selected)
  const replaces = existsSync(target)
  assertTarget(request, { target, replaces })
  if (request.target.kind === 'in-place' && manifest.damaged_source && request.allowDamaged !== true) {
    const message = `${manifest.id} was made of a database that fails its checks`
    const hint = await damagedHint(context, selected.room, manifest.id)
    throw new NexusError('refused', 'damaged_source', message, { hint })
  }
  if (replaces) assertOnlyName(target, { allowed: mayHaveOtherNames(request), warn: () => {} })
  return {
    ...backup,
    target,
    in_place: request.target.kind === 'in-place',
    replaces,
    previous: replaces ? (request.previous ?? previousName(target, context.now())) : null,
    service: request.target.kind === 'in-place' ? request.target.source.service : null,
    bytes: manifest.bytes_source,
  }
}

function mayHaveOtherNames({ allowOtherNames, target }: RestoreRequest): boolean {
  if (allowOtherNames === true) return true
  return target.kind === 'in-place' && target.source.kind === 'sqlite' && target.source.allowOtherNames === true
}

async function targetOf(context: Context, { target }: RestoreRequest, selected: Selected): Promise<string> {
  const path = target.kind === 'path' ? target.path : databaseOf(target.source).path
  const directory = dirname(path)
  if (!existsSync(directory) || !statSync(directory).isDirectory()) {
    throw new NexusError(
      'not-found',
      'target_directory_missing',
      `there is no directory ${directory} to restore into`,
      {
        hint: `make it first: mkdir -p ${shellQuoted(directory)}`,
      },
    )
  }
  return target.kind === 'path' ? trustedPath(path) : trustedPath(path, await claimedPath(context, path, selected))
}

/** The path that this host's backups were made of, where a link of another user may lead to; asked only for such a link. */
async function claimedPath({ host }: Context, path: string, { room }: Selected): Promise<string | null> {
  if (!hasForeignLink(path)) return null
  const claim = await room.claim()
  return claim?.kind === 'sqlite' && claim.host === host ? claim.path : null
}

/** @throws NexusError `refused` when the configuration says that the name is no database's */
export function databaseOf(source: SourceSettings): SqliteSourceSettings {
  if (source.kind === 'sqlite') return source
  throw new NexusError('refused', 'kind_differs', `${source.name} is configured as ${source.kind}, not as a database`, {
    hint: 'restore it beside with --to PATH, or put the kind in the configuration right',
  })
}

function assertTarget({ target: wanted }: RestoreRequest, facts: { target: string; replaces: boolean }): void {
  const { target } = facts
  if (facts.replaces && !statSync(target).isFile()) {
    throw new NexusError('refused', 'target_not_a_file', `${target} exists and is not a file`, {
      hint: `give a file's path, for example: --to ${shellQuoted(join(target, 'restored.db'))}`,
    })
  }
  if (wanted.kind === 'path' && !wanted.force) {
    const there = [target, `${target}-wal`, `${target}-journal`].find(name => existsSync(name))
    if (there !== undefined) {
      throw new NexusError('refused', 'target_exists', `${there} exists already`, {
        hint: 'choose another path, or add --force to replace it; what it replaces is kept beside it',
      })
    }
  }
}

/** Restores a database: staged beside the target, proven, then swapped in. The caller holds the lock. */
export async function restoreDatabase(
  context: Context,
  request: RestoreRequest,
  { plan, selected, began }: { plan: RestorePlan; selected: Selected; began: Date },
): Promise<RestoreResult> {
  const { target } = plan
  const name = request.source?.name ?? plan.source
  await finishInterruptedDatabaseRestore(context, { name, path: target, service: request.source?.service ?? null })
  const place = stagingPlace(target, `nexus-restore-${plan.id.slice(-4)}-${process.pid}`)
  let checks: RestoreResult['checks'] = []
  const problems: string[] = []
  const placement = {
    problems,
    source: name,
    target,
    staged: place.staged,
    scratch: true,
    sidecars: [],
    previous: plan.previous ?? previousName(target, context.now()),
    service: plan.service,
    allowOtherNames: mayHaveOtherNames(request),
  }
  const previous = await putInPlace(context, placement, async () => {
    const replaces = plan.replaces ? target : null
    const made = await whileStaging(place, ({ path }) =>
      stageRestore(context, {
        ...{ selected, staged: path, replaces },
        mustBeSound: plan.in_place && request.allowDamaged !== true,
      }),
    )
    checks = made.checks
    problems.push(...notKept(target, made.lost))
  }).finally(() => leaveStaging(place.staged))
  return {
    command: request.at === undefined ? 'restore' : 'pitr restore',
    id: plan.id,
    target,
    captured_at: plan.captured_at,
    previous,
    undo: undoOf(plan, previous),
    checks,
    ...(problems.length === 0 ? {} : { problems }),
    duration_ms: Math.max(0, context.now().getTime() - began.getTime()),
  }
}

function undoOf(plan: RestorePlan, previous: string | null): string | null {
  if (previous === null) return null
  if (plan.in_place) return `nexus-backup restore ${plan.source} --rollback --confirm ${plan.source}`
  return `nexus-backup restore ${plan.source} --rollback --to ${shellQuoted(plan.target)}`
}
