import { resolve } from 'node:path'
import { sourceNameProblem } from '../../config/names.js'
import type { Settings } from '../../config/settings.js'
import { NexusError } from '../../errors.js'
import type { RestoredPath } from '../../operations/requests.js'
import { planRollback, rollback } from '../../operations/rollback.js'
import type { Handler, Invocation } from '../invocation.js'
import { renderPlan } from '../output/render-restore.js'
import { switchOption, textOption } from '../parsed.js'
import { sourceNamed } from '../sources.js'
import { confirmSource, planOutcome, restoredOutcome } from './restore-parts.js'

/** `restore SOURCE --rollback [--to PATH]` */
export const runRollback: Handler = async invocation => {
  const settings = await invocation.settings()
  const { options } = invocation
  const to = textOption(options, 'to')
  const name = invocation.operands[0] ?? ''
  const source = to === undefined ? sourceNamed(settings, name) : restoredPath(invocation, settings, name, to)
  const dryRun = switchOption(options, 'dry-run')
  const request = { source, dryRun, allowOtherNames: switchOption(options, 'allow-other-names') }
  const context = await invocation.context()
  const plan = await planRollback(context, request)
  if (request.dryRun) return planOutcome('restore', plan, settings.timezone)
  invocation.say(renderPlan(plan, settings.timezone))
  // A path that is written out says by itself what is meant.
  if (to === undefined) await confirmSource(invocation, source.name, 'rolls back the last restore of')
  const restored = await rollback(context, await invocation.journal(), { ...request, previous: plan.previous })
  return restoredOutcome(restored, invocation, settings.timezone)
}

function restoredPath({ io }: Invocation, { repositories }: Settings, name: string, to: string): RestoredPath {
  const problem = sourceNameProblem(name)
  if (problem !== undefined) {
    throw new NexusError('usage', 'invalid_source_name', problem, {
      hint: 'give the name of the source that was restored to the path',
    })
  }
  return { kind: 'path', name, path: resolve(io.cwd, to), repository: repositories[0]?.path ?? '' }
}
