import { resolve } from 'node:path'
import type { Settings } from '../../config/settings.js'
import { NexusError } from '../../errors.js'
import type { ClusterTarget, RestoreClusterRequest, RestoreClusterResult } from '../../operations/pitr/requests.js'
import { planClusterRestore, restoreCluster } from '../../operations/pitr/restore-cluster.js'
import type { RecoveryCalls } from '../../operations/requests.js'
import type { Invocation } from '../invocation.js'
import type { Outcome } from '../outcome.js'
import { renderClusterPlan, renderClusterRestore } from '../output/render-cluster.js'
import { listOption, placeFlags, switchOption, textOption } from '../parsed.js'
import { planDocument, uncheckedFailures } from './restore-parts.js'

/** What differs between `restore` and `pitr restore` of a cluster. */
export interface ClusterRestore {
  command: RestoreClusterRequest['command']
  /** As in the request. */
  backup: string
  /** The source it belongs to. */
  source: string
  target: ClusterTarget
  to: string
}

/** Restores a cluster into a new data directory, or plans it. */
export async function runClusterRestore(
  invocation: Invocation,
  settings: Settings,
  wanted: ClusterRestore,
): Promise<Outcome> {
  const { command } = wanted
  const request = requestOf(invocation, settings, wanted)
  const context = await invocation.context()
  const plan = await planClusterRestore(context, request)
  const planned = renderClusterPlan(plan, settings.timezone)
  if (request.dryRun) {
    for (const note of plan.notes) invocation.warn(`${plan.source}: ${note}`)
    return { document: planDocument(command, plan), text: () => planned, always: true, failures: [] }
  }
  invocation.say(planned)
  const result = await restoreCluster(context, await invocation.journal(), request)
  return {
    document: result,
    text: paint => renderClusterRestore(result, { zone: settings.timezone, paint }),
    // The commands that connect to the server and stop it are what was asked for.
    always: result.server !== null,
    failures: [...ofDamaged(result), ...failedChecks(result, wanted.source)],
  }
}

function requestOf({ io, options }: Invocation, settings: Settings, wanted: ClusterRestore): RestoreClusterRequest {
  const configured = settings.sources.find(({ name }) => name === wanted.source)
  return {
    command: wanted.command,
    repositories: settings.repositories,
    backup: wanted.backup,
    target: wanted.target,
    untrusted: switchOption(options, 'untrusted'),
    timeline: timelineOf(textOption(options, 'timeline')),
    allowDamaged: switchOption(options, 'allow-damaged'),
    to: resolve(io.cwd, wanted.to),
    tablespaceMap: listOption(options, 'tablespace-map').map(text => {
      const at = text.indexOf('=')
      return { from: text.slice(0, at), to: text.slice(at + 1) }
    }),
    waldir: pathOption(textOption(options, 'waldir'), io.cwd),
    targetAction: (textOption(options, 'target-action') ?? 'promote') as RestoreClusterRequest['targetAction'],
    keepArchiving: switchOption(options, 'keep-archiving'),
    start: switchOption(options, 'start') ? { stop: switchOption(options, 'stop') } : null,
    source: configured?.kind === 'postgres' ? configured : undefined,
    ...recoveryCalls({ io, options }, settings),
    dryRun: switchOption(options, 'dry-run'),
  }
}

function pathOption(text: string | undefined, cwd: string): string | undefined {
  return text === undefined ? undefined : resolve(cwd, text)
}

function timelineOf(text: string | undefined): RestoreClusterRequest['timeline'] {
  return text === undefined || text === 'latest' || text === 'current' ? (text ?? 'latest') : Number(text)
}

/** What the server's own calls need besides the configuration: where the repository lies, and what opens it. */
const forTheServer: ReadonlySet<string> = new Set(['--repo', '--key-file', '--passphrase-file'])

/** The server runs as another user and elsewhere: it must not look for a configuration of its own. */
export function recoveryCalls({ io, options }: Pick<Invocation, 'io' | 'options'>, settings: Settings): RecoveryCalls {
  const configuration = settings.file === null ? [] : ['--config', settings.file]
  const places = placeFlags(options, io.cwd).flatMap(([name, value]) => (forTheServer.has(name) ? [name, value] : []))
  return { program: io.program, flags: [...configuration, ...places] }
}

/** It was asked for, and is still no copy that anybody should go on with unseen. */
function ofDamaged({ damage, id, target }: RestoreClusterResult): NexusError[] {
  if (damage === undefined) return []
  const message = `${target} is restored from ${id}, which was made of a damaged cluster: ${damage}`
  return [
    new NexusError('damage', 'restored_damaged', message, {
      hint: 'look into what is named before anything relies on it, once the copy runs: pg_amcheck --all --heapallindexed',
    }),
  ]
}

function failedChecks({ checks, target }: RestoreClusterResult, source: string): NexusError[] {
  const failed = checks.find(({ status }) => status === 'failed')
  if (failed === undefined) return uncheckedFailures(checks, target)
  const message = `${target} is restored, but fails the check ${failed.name}: ${failed.detail}`
  return [
    new NexusError('damage', 'restored_check_failed', message, {
      hint: `look into it there, or choose an earlier target: nexus-backup pitr points ${source}`,
    }),
  ]
}
