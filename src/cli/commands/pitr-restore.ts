import { resolve } from 'node:path'
import type { Settings } from '../../config/settings.js'
import { NexusError } from '../../errors.js'
import type { RestoreRequest } from '../../operations/requests.js'
import { planRestore, restore } from '../../operations/restore.js'
import { shellQuoted } from '../../operations/shell.js'
import type { Handler, Invocation } from '../invocation.js'
import type { Outcome } from '../outcome.js'
import { humanDuration } from '../output/format.js'
import { renderPlan } from '../output/render-restore.js'
import { switchOption, textOption } from '../parsed.js'
import { refuseClusterMixture, refuseClusterOptions, targetName, targetOf } from './pitr-target.js'
import { planOutcome, restoredOutcome } from './restore-parts.js'
import { originOf } from './source-of-backup.js'

/** `pitr restore SOURCE (--at TIME | --lsn L | --xid X | --restore-point N | --end) --to PATH` */
export const runPitrRestore: Handler = async invocation => {
  const { options } = invocation
  const [name = ''] = invocation.operands
  const by = targetName(options, name)
  const to = textOption(options, 'to')
  if (to === undefined) {
    throw new NexusError('usage', 'missing_option', 'pitr restore needs --to PATH', {
      hint: `nexus-backup pitr restore ${shellQuoted(name)} --${by} … --to PATH`,
    })
  }
  refuseClusterMixture(options)
  const settings = await invocation.settings()
  const target = targetOf(options, by, settings.timezone)
  const kind = (await originOf(await invocation.context(), settings, name))?.kind ?? 'sqlite'
  if (kind === 'postgres') {
    const { runClusterRestore } = await import('./cluster-restore.js')
    return await runClusterRestore(invocation, settings, {
      command: 'pitr restore',
      backup: name,
      source: name,
      target,
      to,
    })
  }
  refuseClusterOptions(options, { name, kind })
  return await restoreCapture(invocation, settings, { name, to, at: target.kind === 'time' ? target.at : undefined })
}

/** Sources without a log: the newest capture that is not after the instant. */
async function restoreCapture(
  invocation: Invocation,
  settings: Settings,
  { name, to, at }: { name: string; to: string; at: Date | undefined },
): Promise<Outcome> {
  const { options, io } = invocation
  const request: RestoreRequest = {
    repositories: settings.repositories,
    backup: name,
    target: { kind: 'path', path: resolve(io.cwd, to), force: false },
    source: settings.sources.find(source => source.name === name),
    at,
    dryRun: switchOption(options, 'dry-run'),
  }
  const context = await invocation.context()
  const plan = await planRestore(context, request)
  const asked = at?.toISOString() ?? plan.captured_at
  const before = humanDuration(Date.parse(asked) - Date.parse(plan.captured_at))
  const nearness = `${name}: asked for ${asked}; the state of ${plan.captured_at} lies ${before} before it\n`
  if (request.dryRun) return planOutcome('pitr restore', plan, settings.timezone, nearness)
  invocation.say(`${nearness}${renderPlan(plan, settings.timezone)}`)
  const restored = await restore(context, await invocation.journal(), request)
  return restoredOutcome(restored, invocation, settings.timezone, { command: 'pitr restore', requested_at: asked })
}
