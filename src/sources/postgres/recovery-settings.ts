/** What a restored cluster is told about its recovery. */
export interface RecoverySettings {
  /** Null: recovery ends with the WAL that the base itself holds. */
  recovery: {
    restoreCommand: string
    /** `recovery_target_time` and its value …; null: everything there is. */
    target: { name: string; value: string } | null
    timeline: number
    action: 'promote' | 'pause'
  } | null
  /** Whether archiving stays as it was captured. */
  keepArchiving: boolean
  major: number
}

/** Everything that says where a recovery ends: of an earlier one it must not stay, two targets are an error. */
const targets = [
  'recovery_target',
  'recovery_target_time',
  'recovery_target_lsn',
  'recovery_target_xid',
  'recovery_target_name',
  'recovery_target_inclusive',
  'recovery_target_timeline',
  'recovery_target_action',
  'restore_command',
  'recovery_end_command',
  'archive_cleanup_command',
]
/** Stands above our settings; of an earlier restore it must not stay either. */
const HEADING = '# Added by nexus-backup for this restored copy.'
/** First release with `archive_library`; an older one does not start with a name it does not know. */
const ARCHIVE_LIBRARY_SINCE = 15

/**
 * The text of `postgresql.auto.conf` of a restored cluster: what it held, without an earlier recovery's settings, and
 * ours. This file wins over every other one. A copy that archives writes its own future into the archive of the cluster
 * it came from, and the next restore follows it (anchors/postgres.md 2.4).
 */
export function recoveryConfiguration(before: string, settings: RecoverySettings): string {
  const own = ownSettings(settings)
  const replaced = new Set([...targets, ...own.map(([name]) => name)])
  const kept = before.split('\n').filter(line => line !== HEADING && !replaced.has(nameOf(line)))
  while (kept.at(-1) === '') kept.pop()
  const lines = own.map(([name, value]) => `${name} = ${quotedSetting(value)}`)
  return [...kept, ...(lines.length === 0 ? [] : [HEADING]), ...lines, ''].join('\n')
}

/** The settings of a configuration file that say where recovery ends; ones in `postgresql.conf` would add to ours. */
export function recoveryTargetsIn(configuration: string): string[] {
  const names = configuration.split('\n').map(nameOf)
  return [...new Set(names.filter(name => /^recovery_target(?!_timeline$|_action$|_inclusive$)/.test(name)))]
}

/** A value as a configuration file takes it. */
export function quotedSetting(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "''").replaceAll('\n', '\\n')}'`
}

function ownSettings({ recovery, keepArchiving, major }: RecoverySettings): [string, string][] {
  const own: [string, string][] = []
  if (!keepArchiving) {
    own.push(['archive_mode', 'off'], ['archive_command', ''])
    if (major >= ARCHIVE_LIBRARY_SINCE) own.push(['archive_library', ''])
  }
  if (recovery === null) return own
  const { restoreCommand, target, timeline, action } = recovery
  own.push(['restore_command', restoreCommand], ['recovery_target_timeline', String(timeline)])
  if (target !== null) own.push([target.name, target.value], ['recovery_target_inclusive', 'on'])
  if (target !== null) own.push(['recovery_target_action', action])
  return own
}

/** The parameter that a line sets, lower-case; '' for a comment or an empty line. */
function nameOf(line: string): string {
  return (/^\s*([A-Za-z_][A-Za-z0-9_.]*)/.exec(line)?.[1] ?? '').toLowerCase()
}
