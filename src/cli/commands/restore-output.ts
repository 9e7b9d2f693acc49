import type { Settings } from '../../config/settings.js'
import { NexusError } from '../../errors.js'
import { type OutputRequest, planOutput, restoreToOutput } from '../../operations/restore-output.js'
import { shellQuoted } from '../../operations/shell.js'
import type { Invocation } from '../invocation.js'
import type { Outcome } from '../outcome.js'
import { noPaint } from '../output/colour.js'
import { renderPlan, renderRestore } from '../output/render-restore.js'
import { switchOption } from '../parsed.js'
import { partOf, planOutcome, restoredOutcome } from './restore-parts.js'
import type { Origin } from './source-of-backup.js'

/** `restore BACKUP|SOURCE [--include PATH] --to -`: stdout carries the file and nothing else. */
export async function runRestoreOutput(
  invocation: Invocation,
  settings: Settings,
  { backup, origin }: { backup: string; origin: Origin | undefined },
): Promise<Outcome> {
  const { options, io } = invocation
  refuseKind(origin, backup, options)
  refuseMixture(options)
  const request: OutputRequest = {
    repositories: settings.repositories,
    backup,
    at: undefined,
    source: settings.sources.find(source => source.name === origin?.name),
    untrusted: switchOption(options, 'untrusted'),
    dryRun: switchOption(options, 'dry-run'),
    noOwner: true,
    ...partOf(options),
  }
  const context = await invocation.context()
  const plan = await planOutput(context, request)
  if (request.dryRun) return planOutcome('restore', plan, settings.timezone)
  invocation.say(renderPlan(plan, settings.timezone))
  const write = (bytes: Uint8Array) => io.writeBytes(bytes)
  const restored = await restoreToOutput(context, await invocation.journal(), { request, plan, write })
  invocation.say(renderRestore(restored, { zone: settings.timezone, paint: noPaint }))
  return { ...restoredOutcome(restored, invocation, settings.timezone), text: () => '' }
}

function refuseMixture(options: Invocation['options']): void {
  const flag = ['force', 'json', 'tablespace-map', 'waldir'].find(name => options[name] !== undefined)
  if (flag === undefined || (flag === 'json' && switchOption(options, 'dry-run'))) return
  const message = `--${flag} and --to - exclude each other: standard output carries the file and nothing else`
  throw new NexusError('usage', 'options_exclude', message, { hint: `leave --${flag} out, or restore with --to PATH` })
}

function refuseKind(origin: Origin | undefined, backup: string, options: Invocation['options']): void {
  const what = shellQuoted(backup)
  const { part } = partOf(options)
  if (origin?.kind === 'postgres') {
    throw new NexusError('usage', 'not_one_file', `--to - takes one file, and ${origin.name} is a cluster`, {
      hint: `restore it to a directory: nexus-backup restore ${what} --to PATH`,
    })
  }
  if (origin?.kind === 'files' && part === undefined) {
    throw new NexusError('usage', 'not_one_file', `--to - takes one file, and ${origin.name} holds more`, {
      hint: `name it: nexus-backup restore ${what} --include PATH --to -; to see what there is: nexus-backup list ${what} --files`,
    })
  }
  if (origin?.kind === 'sqlite' && part !== undefined) {
    throw new NexusError('usage', 'option_of_files', `--include is for files, and ${origin.name} is a database`, {
      hint: `leave it out: nexus-backup restore ${what} --to -`,
    })
  }
}
