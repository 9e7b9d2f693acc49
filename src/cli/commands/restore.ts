import { resolve } from 'node:path'
import type { Settings } from '../../config/settings.js'
import { NexusError } from '../../errors.js'
import type { RestoreRequest } from '../../operations/requests.js'
import { planRestore, restore } from '../../operations/restore.js'
import { shellQuoted } from '../../operations/shell.js'
import type { Handler, Invocation } from '../invocation.js'
import type { Outcome } from '../outcome.js'
import { renderPlan } from '../output/render-restore.js'
import { switchOption, textOption } from '../parsed.js'
import { sourceNamed } from '../sources.js'
import { confirmSource, planOutcome, restoredOutcome } from './restore-parts.js'
import { sourceOfBackup } from './source-of-backup.js'

/** `restore BACKUP|SOURCE (--to PATH [--force] | --in-place | --rollback)` */
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
  const request = await requestOf(invocation, settings, backup, to)
  return await carryOut(invocation, settings, request)
}

function refuseMixture({ options, operands }: Invocation): void {
  const ways = [
    textOption(options, 'to') === undefined ? undefined : '--to',
    switchOption(options, 'in-place') ? '--in-place' : undefined,
    switchOption(options, 'rollback') ? '--rollback' : undefined,
  ].filter(way => way !== undefined)
  if (ways.length > 1) {
    throw new NexusError('usage', 'options_exclude', `${ways.join(' and ')} exclude each other`, { hint: 'choose one' })
  }
  if (switchOption(options, 'force') && ways[0] !== '--to') {
    throw new NexusError('usage', 'options_exclude', '--force goes with --to PATH', {
      hint: 'in place, use --confirm SOURCE',
    })
  }
  if (operands.length === 0 && ways.length > 0) {
    throw new NexusError('usage', 'missing_argument', `restore ${ways[0]} needs a backup or a source`, {
      hint: `'nexus-backup list' shows them; 'nexus-backup restore --help' shows the forms`,
    })
  }
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
  const request = await chooseRestore(invocation, settings)
  return await carryOut(invocation, settings, request)
}

async function requestOf(
  { options, io, context }: Invocation,
  settings: Settings,
  backup: string,
  to: string | undefined,
): Promise<RestoreRequest> {
  const common = {
    repositories: settings.repositories,
    backup,
    at: undefined,
    dryRun: switchOption(options, 'dry-run'),
  }
  if (to !== undefined) {
    const target = { kind: 'path', path: resolve(io.cwd, to), force: switchOption(options, 'force') } as const
    const name = await sourceOfBackup(await context(), settings, backup)
    return { ...common, target, source: settings.sources.find(source => source.name === name) }
  }
  const name = (await sourceOfBackup(await context(), settings, backup)) ?? backup
  const source = sourceNamed(settings, name)
  return { ...common, target: { kind: 'in-place', source }, source }
}

async function carryOut(invocation: Invocation, settings: Settings, request: RestoreRequest): Promise<Outcome> {
  const context = await invocation.context()
  const plan = await planRestore(context, request)
  if (request.dryRun) return planOutcome('restore', plan, settings.timezone)
  invocation.say(renderPlan(plan, settings.timezone))
  if (plan.in_place) await confirmSource(invocation, plan.source, 'replaces the live data of')
  const restored = await restore(context, await invocation.journal(), { ...request, previous: plan.previous })
  return restoredOutcome(restored, invocation, settings.timezone)
}
