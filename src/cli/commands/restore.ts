import { resolve } from 'node:path'
import type { Settings } from '../../config/settings.js'
import { NexusError } from '../../errors.js'
import type { RestoreRequest } from '../../operations/requests.js'
import { planRestore, restore } from '../../operations/restore.js'
import { shellQuoted } from '../../operations/shell.js'
import { directoryOf } from '../../operations/trees/restore-cluster-in-place.js'
import type { Handler, Invocation } from '../invocation.js'
import type { Outcome } from '../outcome.js'
import { renderPlan } from '../output/render-restore.js'
import { listOption, switchOption, textOption } from '../parsed.js'
import { sourceNamed } from '../sources.js'
import { confirmSource, mergeOf, orDamaged, partOf, planOutcome, restoredOutcome } from './restore-parts.js'
import { type Origin, originOf } from './source-of-backup.js'

/** `restore BACKUP|SOURCE (--to PATH [--force] | --in-place | --rollback [--to PATH])` */
export const runRestore: Handler = async invocation => {
  const { options, operands } = invocation
  const [backup] = operands
  const to = textOption(options, 'to')
  refuseMixture(invocation)
  if (switchOption(options, 'rollback')) {
    const { runRollback } = await import('./rollback.js')
    return await runRollback(invocation)
  }
  if (backup === undefined) return await chooseOnTerminal(invocation)
  if (to === undefined && !switchOption(options, 'in-place')) throw undecided(invocation, backup)
  const settings = await invocation.settings()
  const origin = await originOf(await invocation.context(), settings, backup)
  if (to === '-') {
    const { runRestoreOutput } = await import('./restore-output.js')
    return await runRestoreOutput(invocation, settings, { backup, origin })
  }
  const request = requestOf(invocation, settings, { backup, to, origin })
  return await carryOut(invocation, settings, request, origin)
}

function refuseMixture({ options, operands }: Invocation): void {
  const ways = [
    textOption(options, 'to') === undefined ? undefined : '--to',
    switchOption(options, 'in-place') ? '--in-place' : undefined,
    switchOption(options, 'rollback') ? '--rollback' : undefined,
  ].filter(way => way !== undefined)
  const isUndo = switchOption(options, 'rollback') && !switchOption(options, 'in-place')
  if (ways.length > 1 && !isUndo) {
    throw new NexusError('usage', 'options_exclude', `${ways.join(' and ')} exclude each other`, { hint: 'choose one' })
  }
  if (switchOption(options, 'untrusted') && (operands.length === 0 || switchOption(options, 'rollback'))) {
    throw new NexusError('usage', 'untrusted_without_id', '--untrusted goes with the whole id of a backup', {
      hint: "'nexus-backup list' shows the ids",
    })
  }
  if (switchOption(options, 'allow-damaged') && (ways[0] !== '--in-place' || isUndo)) {
    throw new NexusError('usage', 'options_exclude', '--allow-damaged goes with --in-place', {
      hint: 'beside the live data and back, content that fails its checks is restored without it',
    })
  }
  if (switchOption(options, 'force') && (ways[0] !== '--to' || isUndo)) {
    throw new NexusError('usage', 'options_exclude', '--force goes with --to PATH', {
      hint: 'in place, use --confirm SOURCE',
    })
  }
  if (switchOption(options, 'no-owner') && switchOption(options, 'rollback')) {
    throw new NexusError('usage', 'options_exclude', '--no-owner and --rollback exclude each other', {
      hint: 'a rollback brings back what it kept, with its owners',
    })
  }
  refusePart(options, ways[0], operands[0])
  refuseMerge(options, ways[0], operands[0])
  if (operands.length === 0 && ways.length > 0) {
    throw new NexusError('usage', 'missing_argument', `restore ${ways[0]} needs a backup or a source`, {
      hint: `'nexus-backup list' shows them; 'nexus-backup restore --help' shows the forms`,
    })
  }
}

/** A part goes to a path: what is in place, or is brought back by a rollback, is whole. */
function refusePart(options: Invocation['options'], way: string | undefined, backup: string | undefined): void {
  const flag = ['include', 'exclude'].find(name => listOption(options, name).length > 0)
  if (flag === undefined || (way === '--to' && !switchOption(options, 'rollback'))) return
  const what = backup === undefined ? 'SOURCE' : shellQuoted(backup)
  const patterns = listOption(options, flag).map(pattern => `--${flag} ${shellQuoted(pattern)}`)
  const message =
    way === undefined ? `--${flag} needs a place to restore to` : `--${flag} and ${way} exclude each other`
  throw new NexusError('usage', 'options_exclude', message, {
    hint: `restore the part beside the live data: nexus-backup restore ${what} ${patterns.join(' ')} --to DIR`,
  })
}

function refuseMerge(options: Invocation['options'], way: string | undefined, backup = 'SOURCE'): void {
  const isMerge = switchOption(options, 'merge')
  if (!isMerge && textOption(options, 'overwrite') === undefined) return
  if (!isMerge) {
    throw new NexusError('usage', 'options_exclude', '--overwrite goes with --merge', {
      hint: 'add --merge to put files into a directory that is there; --force replaces the whole directory',
    })
  }
  const other = switchOption(options, 'force') ? '--force' : way === '--to' ? undefined : (way ?? 'no --to')
  const isOutput = textOption(options, 'to') === '-'
  if (other === undefined && !isOutput && !switchOption(options, 'rollback')) return
  throw new NexusError('usage', 'options_exclude', `--merge goes with --to DIR, and not with ${other ?? '--to -'}`, {
    hint: `below DIR lie absolute paths, so this puts files back where they were: nexus-backup restore ${shellQuoted(backup)} --merge --to /`,
  })
}

/** The operator must say where to; both commands are ready to paste. */
function undecided({ options }: Invocation, backup: string): NexusError {
  const command = `nexus-backup restore ${shellQuoted(backup)}`
  const source = textOption(options, 'sqlite') === undefined && /^\d{8}T/.test(backup) ? 'SOURCE' : backup
  return new NexusError(
    'usage',
    'target_missing',
    'restore needs to know where to: beside the live data or in its place',
    {
      hint: `one of:\n  ${command} --to PATH\n  ${command} --in-place --confirm ${shellQuoted(source)}`,
    },
  )
}

async function chooseOnTerminal(invocation: Invocation): Promise<Outcome> {
  if (!invocation.interactive) {
    throw new NexusError('usage', 'missing_argument', 'restore needs a backup or a source', {
      hint: `'nexus-backup list' shows them; then: nexus-backup restore BACKUP --to PATH`,
    })
  }
  const { chooseRestore } = await import('../choose-restore.js')
  const settings = await invocation.settings()
  const { request, origin } = await chooseRestore(invocation, settings)
  return await carryOut(invocation, settings, request, origin)
}

function requestOf(
  { options, io }: Invocation,
  settings: Settings,
  { backup, to, origin }: { backup: string; to: string | undefined; origin: Origin | undefined },
): RestoreRequest {
  const common = {
    repositories: settings.repositories,
    backup,
    at: undefined,
    untrusted: switchOption(options, 'untrusted'),
    dryRun: switchOption(options, 'dry-run'),
    allowOtherNames: switchOption(options, 'allow-other-names'),
    allowDamaged: switchOption(options, 'allow-damaged'),
    noOwner: switchOption(options, 'no-owner'),
    ...partOf(options),
    ...mergeOf(options),
  }
  if (to !== undefined) {
    const target = { kind: 'path', path: resolve(io.cwd, to), force: switchOption(options, 'force') } as const
    return { ...common, target, source: settings.sources.find(source => source.name === origin?.name) }
  }
  const source = sourceNamed(settings, origin?.name ?? backup)
  // Before anything is read: here the file is known that must name it.
  if (source.kind === 'postgres') directoryOf(source, settings.file)
  return { ...common, target: { kind: 'in-place', source }, source }
}

async function carryOut(
  invocation: Invocation,
  settings: Settings,
  request: RestoreRequest,
  origin: Origin | undefined,
): Promise<Outcome> {
  const { target, backup } = request
  refusePartOf(origin, request)
  if (origin?.kind === 'postgres' && target.kind === 'path') {
    refuseForce(invocation)
    refuseNoOwner(invocation, origin)
    const { runClusterRestore } = await import('./cluster-restore.js')
    const wanted = {
      command: 'restore',
      backup,
      source: origin.name,
      target: { kind: 'base' },
      to: target.path,
    } as const
    return await runClusterRestore(invocation, settings, wanted)
  }
  refuseTablespaces(invocation, origin ?? { name: backup, kind: undefined })
  refuseNoOwner(invocation, origin)
  const wanted = await completed(invocation, settings, request, origin)
  return await orDamaged(invocation, wanted, again => planAndRestore(invocation, settings, again))
}

async function planAndRestore(invocation: Invocation, settings: Settings, wanted: RestoreRequest): Promise<Outcome> {
  const context = await invocation.context()
  const plan = await planRestore(context, wanted)
  if (wanted.dryRun) return planOutcome('restore', plan, settings.timezone)
  invocation.say(renderPlan(plan, settings.timezone))
  if (plan.in_place) await confirmSource(invocation, plan.source, 'replaces the live data of')
  const restored = await restore(context, await invocation.journal(), { ...wanted, plan, previous: plan.previous })
  return restoredOutcome(restored, invocation, settings.timezone)
}

/** A cluster in place recovers through the archive once: its server must be able to call this program. */
async function completed(
  invocation: Invocation,
  settings: Settings,
  request: RestoreRequest,
  origin: Origin | undefined,
): Promise<RestoreRequest> {
  if (origin?.kind !== 'postgres') return request
  const { recoveryCalls } = await import('./cluster-restore.js')
  return { ...request, recovery: recoveryCalls(invocation, settings) }
}

/** A data directory that is in the way may be all that is left of somebody's cluster. */
function refuseForce({ options }: Invocation): void {
  if (!switchOption(options, 'force')) return
  throw new NexusError(
    'usage',
    'options_exclude',
    '--force is not for clusters: they are restored into a new directory',
    {
      hint: 'give a path that does not exist, or an empty directory',
    },
  )
}

/** A database or cluster belongs to the user of its server. */
function refuseNoOwner({ options }: Invocation, origin: Origin | undefined): void {
  if (!switchOption(options, 'no-owner') || origin?.kind === undefined || origin.kind === 'files') return
  const message = `--no-owner is for directories and files, and ${origin.name} is none`
  throw new NexusError('usage', 'option_of_files', message, { hint: 'leave --no-owner out' })
}

function refusePartOf(origin: Origin | undefined, { part, merge, backup }: RestoreRequest): void {
  if ((part === undefined && merge === undefined) || origin?.kind === undefined || origin.kind === 'files') return
  const flags = merge === undefined ? '--include and --exclude are' : '--merge is'
  const message = `${flags} for directories and files, and ${origin.name} is none`
  throw new NexusError('usage', 'option_of_files', message, {
    hint: `restore all of it: nexus-backup restore ${shellQuoted(backup)} --to PATH`,
  })
}

function refuseTablespaces({ options }: Invocation, { name, kind }: Origin): void {
  const maps = listOption(options, 'tablespace-map').length > 0
  if (!maps && textOption(options, 'waldir') === undefined) return
  const flag = maps ? '--tablespace-map' : '--waldir'
  const message = kind === 'postgres' ? `${flag} goes with --to PATH` : `${flag} is for clusters, and ${name} is none`
  throw new NexusError('usage', 'option_of_clusters', message, {
    hint: `a cluster is restored to new directories: --to PATH ${maps ? '--tablespace-map OLD=NEW' : '--waldir DIR'}`,
  })
}
