import { existsSync } from 'node:fs'
import { basename, join } from 'node:path'
import { runsHere } from './locality.js'
import type { ClusterProbe } from './probe.js'
import { type PostgresSession, queryJson } from './psql.js'
import { recoveryTargets } from './recovery-parameters.js'
import { recoverySettingsFile } from './recovery-settings.js'

interface Leftover {
  name: string
  value: string
  /** Null when it comes from no file, or when we may not know. */
  file: string | null
}

/** What a server of ours reads these settings from while it recovers; it keeps them in memory until it is restarted. */
const OURS = basename(recoverySettingsFile)

const query = `SELECT coalesce(json_agg(json_build_object('name', name, 'value', setting, 'file', sourcefile) ORDER BY name), '[]')
  FROM pg_settings WHERE (name IN (${recoveryTargets.map(name => `'${name}'`).join(', ')}) AND setting <> '')
    OR (name = 'recovery_target_timeline' AND setting <> 'latest')
    OR (name = 'recovery_min_apply_delay' AND setting <> '0' AND NOT pg_is_in_recovery())`

/**
 * What is left of an earlier recovery, or of a life as a delayed standby, in the configuration of a server: a standby that
 * is cloned from it stops there, promotes itself, lags behind or does not follow. As warnings, each with the commands that take it out.
 */
export async function recoveryLeftovers(session: PostgresSession, cluster: ClusterProbe): Promise<string[]> {
  const found = (await queryJson(session, query)) as Leftover[]
  const stale = found.filter(({ file }) => file === null || basename(file) !== OURS)
  const automatic = stale.filter(({ file }) => file === null || basename(file) === 'postgresql.auto.conf')
  const written = stale.filter(leftover => !automatic.includes(leftover))
  return [
    ...(automatic.length === 0 ? [] : [warningOf(automatic, resetsOf(automatic))]),
    ...written.map(leftover => warningOf([leftover], `take it out of ${leftover.file} and restart the server`)),
    ...signalWarnings(cluster),
  ]
}

function resetsOf(leftovers: readonly Leftover[]): string {
  const resets = leftovers.map(({ name }) => `ALTER SYSTEM RESET ${name};`)
  return `as a superuser: ${resets.join(' ')} then restart the server`
}

function warningOf(leftovers: readonly Leftover[], remedy: string): string {
  const what = leftovers.map(({ name, value }) => `${name} = '${value}'`).join(', ')
  return `a setting of an earlier recovery is left: ${what}; a standby cloned from this server would obey it; ${remedy}`
}

/** Of a server that is not in recovery: with such a file it begins one when it is started again. */
function signalWarnings(cluster: ClusterProbe): string[] {
  if (cluster.standby || !runsHere(cluster)) return []
  return ['standby.signal', 'recovery.signal']
    .map(name => join(cluster.dataDirectory, name))
    .filter(path => existsSync(path))
    .map(path => `${path} is left of an earlier recovery: at its next start the server would recover again; remove it`)
}
