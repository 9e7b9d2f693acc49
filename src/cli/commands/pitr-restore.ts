import { resolve } from 'node:path'
import { NexusError } from '../../errors.js'
import type { RestoreRequest } from '../../operations/requests.js'
import { planRestore, restore } from '../../operations/restore.js'
import { instantOf } from '../instants.js'
import type { Handler } from '../invocation.js'
import { humanDuration } from '../output/format.js'
import { renderPlan } from '../output/render-restore.js'
import { switchOption, textOption } from '../parsed.js'
import { planOutcome, restoredOutcome } from './restore-parts.js'

/** `pitr restore SOURCE --at TIME --to PATH` */
export const runPitrRestore: Handler = async invocation => {
  const { options, io } = invocation
  const [name = ''] = invocation.operands
  const at = textOption(options, 'at')
  const to = textOption(options, 'to')
  if (at === undefined || to === undefined) {
    throw new NexusError(
      'usage',
      'missing_option',
      `pitr restore needs ${at === undefined ? '--at TIME' : '--to PATH'}`,
      {
        hint: `nexus-backup pitr restore ${name} --at 2025-11-03T02:59:00Z --to PATH; 'nexus-backup pitr points ${name}' shows the times`,
      },
    )
  }
  const settings = await invocation.settings()
  const instant = instantOf('at', at, settings.timezone)
  const request: RestoreRequest = {
    repositories: settings.repositories,
    backup: name,
    target: { kind: 'path', path: resolve(io.cwd, to), force: false },
    source: settings.sources.find(source => source.name === name),
    at: instant,
    dryRun: switchOption(options, 'dry-run'),
  }
  const context = await invocation.context()
  const plan = await planRestore(context, request)
  const before = humanDuration(instant.getTime() - Date.parse(plan.captured_at))
  const nearness = `${name}: asked for ${instant.toISOString()}; the state of ${plan.captured_at} lies ${before} before it\n`
  if (request.dryRun) return planOutcome('pitr restore', plan, settings.timezone, nearness)
  invocation.say(`${nearness}${renderPlan(plan, settings.timezone)}`)
  const restored = await restore(context, await invocation.journal(), request)
  const more = { command: 'pitr restore', requested_at: instant.toISOString() }
  return restoredOutcome(restored, invocation, settings.timezone, more)
}
