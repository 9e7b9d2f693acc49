import { planRollback, rollback } from '../../operations/rollback.js'
import type { Handler } from '../invocation.js'
import { renderPlan } from '../output/render-restore.js'
import { switchOption } from '../parsed.js'
import { sourceNamed } from '../sources.js'
import { confirmSource, planOutcome, restoredOutcome } from './restore-parts.js'

/** `restore SOURCE --rollback` */
export const runRollback: Handler = async invocation => {
  const settings = await invocation.settings()
  const source = sourceNamed(settings, invocation.operands[0] ?? '')
  const request = { source, dryRun: switchOption(invocation.options, 'dry-run') }
  const context = await invocation.context()
  const plan = await planRollback(context, request)
  if (request.dryRun) return planOutcome('restore', plan, settings.timezone)
  invocation.say(renderPlan(plan, settings.timezone))
  await confirmSource(invocation, source.name, 'rolls back the last restore of')
  const restored = await rollback(context, await invocation.journal(), { ...request, previous: plan.previous })
  return restoredOutcome(restored, invocation, settings.timezone)
}
