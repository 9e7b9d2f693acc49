import { join } from 'node:path'
import { quotedSetting } from './recovery-settings.js'

/** What a server of ours is started for. */
export interface ServerPurpose {
  /** The data directory. */
  directory: string
  /** Its socket, configuration and log: 0700, owned by the server's user, with a short path. */
  room: string
  /** Parameters of the server that was backed up. */
  captured: Readonly<Record<string, string>>
  /** It stands still at its target, open for reading. */
  pauses: boolean
  major: number
}

/** The port is part of the socket's name only. */
export const SOCKET_PORT = 5432

/** What must be as large as on the server whose WAL is replayed (PostgreSQL CheckRequiredParameterValues). */
const sizes = [
  'max_connections',
  'max_worker_processes',
  'max_wal_senders',
  'max_prepared_transactions',
  'max_locks_per_transaction',
]
/** Libraries whose workers do things by themselves: run jobs, replicate, fail over. A copy must do nothing to anybody. */
const acting = ['pg_cron', 'pg_partman_bgw', 'pglogical', 'spock', 'repmgr', 'bdr', 'pg_failover_slots', 'pgactive']

/**
 * Settings for running a restored copy: a private socket and nothing else. They are given on the command line, which wins
 * over the copy's own `postgresql.auto.conf`; of the copy's other configuration nothing is read.
 */
export function serverSettings({ directory, room, captured, pauses, major }: ServerPurpose): [string, string][] {
  const libraries = sharedLibraries(captured.shared_preload_libraries ?? '')
  return [
    ['data_directory', directory],
    ['hba_file', join(room, 'pg_hba.conf')],
    ['ident_file', join(room, 'pg_ident.conf')],
    ['listen_addresses', ''],
    ['port', String(SOCKET_PORT)],
    ['unix_socket_directories', room],
    ['unix_socket_permissions', '0700'],
    ['unix_socket_group', ''],
    ['external_pid_file', ''],
    ['ssl', 'off'],
    ['logging_collector', 'off'],
    ['log_destination', 'stderr'],
    ['log_line_prefix', '%m [%p] '],
    ['log_timezone', 'UTC'],
    // Its words are looked for.
    ['lc_messages', 'C'],
    ['log_min_messages', 'warning'],
    ...sizes.flatMap((name): [string, string][] => {
      const value = captured[name]
      return value === undefined ? [] : [[name, value]]
    }),
    ['shared_preload_libraries', libraries],
    ['session_preload_libraries', ''],
    ['local_preload_libraries', ''],
    ['shared_buffers', '128MB'],
    ['huge_pages', 'off'],
    // Without it a parameter that was raised since the base stops recovery for good (PostgreSQL 14 and later pause).
    ['hot_standby', pauses ? 'on' : 'off'],
    ['archive_mode', 'off'],
    ['archive_command', ''],
    ...(major >= 15 ? ([['archive_library', '']] satisfies [string, string][]) : []),
    // Neither to the primary, nor to subscribers and publishers.
    ['primary_conninfo', ''],
    ['primary_slot_name', ''],
    ['synchronous_standby_names', ''],
    ['max_logical_replication_workers', '0'],
    // recovery_end_command is ours: it tidies up after the recovery.
    ['archive_cleanup_command', ''],
  ]
}

/** The configuration file of a server of ours: the command line has it all. */
export function settingsArguments(settings: readonly (readonly [string, string])[]): string[] {
  return settings.flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

/** The same as the text of a configuration file, so that the server can be started by hand again. */
export function settingsFile(settings: readonly (readonly [string, string])[]): string {
  return settings.map(([name, value]) => `${name} = ${quotedSetting(value)}\n`).join('')
}

/** A list of libraries without those that act by themselves. */
function sharedLibraries(list: string): string {
  const names = list.split(',').map(name => name.trim().replaceAll('"', ''))
  return names
    .filter(name => name !== '' && !acting.includes(name.replace(/^.*\//, '').replace(/\.so$/, '')))
    .join(', ')
}
