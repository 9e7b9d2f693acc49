import { resolve } from 'node:path'
import type { Settings } from '../../config/settings.js'
import { NexusError } from '../../errors.js'
import { isoShort, millisecondsOf } from '../../model/micros.js'
import type { ClusterTarget } from '../../operations/pitr/requests.js'
import type { RestoreRequest } from '../../operations/requests.js'
import { planRestore, restore } from '../../operations/restore.js'
import { shellQuoted } from '../../operations/shell.js'
import type { Handler, Invocation } from '../invocation.js'
import type { Outcome } from '../outcome.js'
import { humanDuration } from '../output/format.js'
import { renderPlan } from '../output/render-restore.js'
import { switchOption, textOption } from '../parsed.js'
import { refuseBefore, refuseClusterMixture, refuseClusterOptions, targetName, targetOf } from './pitr-target.js'
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
  refuseBefore(options, by)
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
  if (target.kind !== 'time') throw new Error(`a target of clusters: ${target.kind}`)
  return await restoreCapture(invocation, settings, { name, to, target })
}

/** Sources without WAL: the newest capture that is not after the time, or before it. */
async function restoreCapture(
  invocation: Invocation,
  settings: Settings,
  { name, to, target }: { name: string; to: string; target: Extract<ClusterTarget, { kind: 'time' }> },
): Promise<Outcome> {
  const { options, io } = invocation
  const { first, last } = target.at
  const request: RestoreRequest = {
    repositories: settings.repositories,
    backup: name,
    target: { kind: 'path', path: resolve(io.cwd, to), force: false },
    source: settings.sources.find(source => source.name === name),
    at: new Date(millisecondsOf(target.before ? first - 1n : last)),
    dryRun: switchOption(options, 'dry-run'),
  }
  const context = await invocation.context()
  const plan = await planRestore(context, request)
  const asked = isoShort(first)
  const distance = millisecondsOf(first) - Date.parse(plan.captured_at)
  const place = distance < 0 ? 'lies within it' : `lies ${humanDuration(distance)} before it`
  const nearness = `${name}: asked for ${target.before ? 'before ' : ''}${asked}; the state of ${plan.captured_at} ${place}\n`
  if (request.dryRun) return planOutcome('pitr restore', plan, settings.timezone, nearness)
  invocation.say(`${nearness}${renderPlan(plan, settings.timezone)}`)
  const restored = await restore(context, await invocation.journal(), { ...request, plan })
  return restoredOutcome(restored, invocation, settings.timezone, { command: 'pitr restore', requested_at: asked })
}
