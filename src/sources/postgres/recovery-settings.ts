import { parametersOf, recoveryParameters, recoveryTargets } from './recovery-parameters.js'

/** What a restored cluster is told about its recovery. */
export interface RecoverySettings {
  /** Null: recovery ends with the WAL that the base itself holds. */
  recovery: {
    restoreCommand: string
    /** `recovery_target_time` and its value …; null: everything there is. */
    target: { name: string; value: string } | null
    timeline: number
    action: 'promote' | 'pause' | 'shutdown'
  } | null
  /** Whether archiving stays as it was captured. */
  keepArchiving: boolean
  major: number
}

/** Stands above our settings; of an earlier restore it must not stay either. */
const HEADING = '# Added by nexus-backup for this restored copy.'
/** First release with `archive_library`; an older one does not start with a name it does not know. */
const ARCHIVE_LIBRARY_SINCE = 15

/**
 * The settings of a recovery, below the data directory: in pg_wal, which pg_basebackup and other tools leave out of a copy.
 * A standby that is cloned while its primary still recovers gets none of them.
 */
export const recoverySettingsFile = 'pg_wal/nexus-backup.recovery.conf'
/**
 * Includes them for as long as recovery lasts. The server removes recovery.signal itself when recovery is over, not before
 * and not after, also when it was killed and started again in between; without that file nothing is included.
 */
const INCLUDE = "include_if_exists 'recovery.signal'"

/** What the server finds in recovery.signal, whose content it does not look at otherwise. */
export const recoverySignal = `# Settings of this recovery, by nexus-backup. The server removes this file when recovery is over.
include_if_exists '${recoverySettingsFile}'
`

/**
 * The server's recovery_end_command: takes out of postgresql.auto.conf the line that includes, and the settings
 * themselves, which ALTER SYSTEM writes there when it is used during the recovery. Durable, and all or nothing.
 */
const TIDY = [
  `c=postgresql.auto.conf s=${recoverySettingsFile} t=pgsql_tmp.nexus-backup`,
  `LC_ALL=C grep -avxF -e "${INCLUDE}" -f $s $c > $t`,
  `[ $? -lt 2 ] && sync $t && mv -f $t $c`,
  'rm -f $s $t',
].join('; ')

/**
 * The text of `postgresql.auto.conf` of a restored cluster: what it held, without an earlier recovery's or a standby's
 * settings, and ours. This file wins over every other one. A copy that archives writes its own future into the archive of
 * the cluster it came from, and the next restore follows it.
 */
export function restoredConfiguration(before: string, { recovery, keepArchiving, major }: RecoverySettings): string {
  const own = keepArchiving ? [] : withoutArchiving(major)
  const replaced = new Set([
    ...recoveryParameters.flatMap(({ name, leaves }) => (leaves ? [name] : [])),
    ...own.map(([name]) => name),
  ])
  const isOurs = (line: string) => line === HEADING || line === INCLUDE || replaced.has(nameOf(line))
  const kept = before.split('\n').filter(line => !isOurs(line))
  while (kept.at(-1) === '') kept.pop()
  return [
    ...kept,
    ...(own.length === 0 ? [] : [HEADING]),
    ...own.map(settingLine),
    ...(recovery === null ? [] : [INCLUDE]),
    '',
  ].join('\n')
}

/**
 * The text of `recoverySettingsFile`. Each parameter of a recovery is in it, so that nothing of the cluster's own files
 * counts: the delay of a standby, a second target.
 */
export function recoveryText({ recovery, major }: Pick<RecoverySettings, 'major'> & WithRecovery): string {
  const { restoreCommand, target, timeline, action } = recovery
  const ours = new Map<string, string>([
    ['restore_command', restoreCommand],
    ['recovery_target_timeline', String(timeline)],
    ['recovery_target_action', action],
    ['recovery_end_command', TIDY],
    // With it off the server ends instead of standing still.
    ...(action === 'pause' ? [['hot_standby', 'on'] as const] : []),
  ])
  const settings = parametersOf(major).flatMap(({ name, during }): [string, string][] => {
    const value = ours.get(name) ?? during
    return value === null ? [] : [[name, value]]
  })
  if (target !== null) settings.push([target.name, target.value])
  return settings.map(setting => `${settingLine(setting)}\n`).join('')
}

interface WithRecovery {
  recovery: NonNullable<RecoverySettings['recovery']>
}

/** The settings of a configuration file that a standby cloned from its server would obey: it stops there, or lags behind. */
export function staleSettingsIn(configuration: string): string[] {
  return [...settingNamesIn(configuration)].filter(
    name => recoveryTargets.includes(name) || name === 'recovery_min_apply_delay',
  )
}

/** Names of the parameters that a configuration file sets. */
export function settingNamesIn(configuration: string): Set<string> {
  return new Set(configuration.split('\n').map(nameOf))
}

/** A value as a configuration file takes it. */
export function quotedSetting(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "''").replaceAll('\n', '\\n')}'`
}

function settingLine([name, value]: readonly [string, string]): string {
  return `${name} = ${quotedSetting(value)}`
}

function withoutArchiving(major: number): [string, string][] {
  const library: [string, string][] = major >= ARCHIVE_LIBRARY_SINCE ? [['archive_library', '']] : []
  return [['archive_mode', 'off'], ['archive_command', ''], ...library]
}

/** The parameter that a line sets, lower-case; '' for a comment or an empty line. */
function nameOf(line: string): string {
  return (/^\s*([A-Za-z_][A-Za-z0-9_.]*)/.exec(line)?.[1] ?? '').toLowerCase()
}
