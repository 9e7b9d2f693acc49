import { parseDuration } from '../../config/duration.js'
import type { KeepPolicy, Settings, SourceSettings } from '../../config/settings.js'
import { NexusError } from '../../errors.js'
import { prune } from '../../operations/prune.js'
import type { PruneSource } from '../../operations/requests.js'
import type { PruneResult } from '../../operations/results.js'
import type { Handler } from '../invocation.js'
import { counted } from '../output/format.js'
import { renderPrune } from '../output/render-prune.js'
import { countOption, type OptionValues, switchOption, textOption } from '../parsed.js'
import { chosenSources, sourceNamed } from '../sources.js'
import { damagedBackups } from './damaged-backups.js'

/** `prune [SOURCE...] [--keep-…]` */
export const runPrune: Handler = async invocation => {
  const policy = policyOf(invocation.options)
  const settings = await invocation.settings()
  const sources = prunedSources(settings, invocation.operands, policy)
  const result = await prune(await invocation.context(), await invocation.journal(), {
    sources,
    dryRun: switchOption(invocation.options, 'dry-run'),
  })
  return {
    document: result,
    text: paint => renderPrune(result, paint),
    always: result.dry_run,
    failures: pruneFailures(result),
  }
}

const counts = ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const

/** The policy on the command line, or undefined when it names no rule. */
export function policyOf(options: OptionValues): KeepPolicy | undefined {
  const policy: KeepPolicy = {}
  for (const rule of counts) {
    const count = countOption(options, `keep-${rule}`)
    if (count !== undefined) policy[rule] = count
  }
  for (const rule of ['within', 'pitr'] as const) {
    const duration = parseDuration(textOption(options, `keep-${rule}`) ?? '')
    if (duration !== undefined) policy[rule] = duration
  }
  return Object.keys(policy).length === 0 ? undefined : policy
}

/** Without a configuration a source need not be known: its backups are there all the same. */
function prunedSources(settings: Settings, names: readonly string[], policy: KeepPolicy | undefined): PruneSource[] {
  if (names.length === 0) {
    return chosenSources(settings, []).flatMap(source => {
      return pruned(source, policy).map(one => ({ ...one, kind: source.kind }))
    })
  }
  const [repository, another] = settings.repositories
  const bare = settings.file === null && another === undefined ? repository : undefined
  return [...new Set(names)].flatMap(name => {
    const known = settings.sources.some(source => source.name === name)
    if (bare !== undefined && !known) return { name, repository: bare, keep: policy ?? {} }
    return pruned(sourceNamed(settings, name), policy)
  })
}

/**
 * Rules on the command line take the place of the configured policy as a whole, and are for the source's own repository
 * alone: who frees a disk must not lose what lies off-site.
 */
function pruned(source: SourceSettings, policy: KeepPolicy | undefined): PruneSource[] {
  const { name, kind, repository, keep, copies } = source
  if (policy?.pitr !== undefined && kind !== 'postgres') {
    const message = `--keep-pitr is for clusters, and ${name} is a source of kind ${kind}`
    throw new NexusError('usage', 'keep_pitr_without_log', message, {
      hint: 'name the clusters that it is meant for: nexus-backup prune SOURCE --keep-pitr 14d',
    })
  }
  if (policy !== undefined) return [{ name, repository, keep: policy }]
  return [{ name, repository, keep }, ...copies.map(copy => ({ name, ...copy }))]
}

/** The sources that failed, which makes the run partly done, then damage that was met, which weighs more. */
export function pruneFailures(result: PruneResult): NexusError[] {
  const failures = result.failures.map(({ source, kind, code, message, hint }) => {
    return new NexusError(kind, code, `${source}: ${message}`, hint === null ? {} : { hint })
  })
  const damaged = damagedBackups(result.problems)
  if (failures.length === 0) return damaged
  const message = `${counted(failures.length, 'source')} could not be pruned`
  return [...failures, new NexusError('partial', 'sources_failed', message), ...damaged]
}
