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
  /** What it does at its target, where that is not what the copy's own settings say. */
  recoveryAction?: 'promote' | 'pause' | undefined
  major: number
  /** Bytes of a WAL segment; PostgreSQL's default where it is left out. */
  walSegmentBytes?: number
  /** The copy holds tablespaces that are directories in `pg_tblspc`. */
  inPlaceTablespaces?: boolean
}

/** The port is part of the socket's name only. */
export const SOCKET_PORT = 5432

const MEGABYTE = 1024 * 1024
const DEFAULT_SEGMENT_BYTES = 16 * MEGABYTE
const DEFAULT_MIN_WAL_MB = 80
const DEFAULT_MAX_WAL_MB = 1024

/** What must be as large as on the server whose WAL is replayed (PostgreSQL CheckRequiredParameterValues). */
export const raisable = [
  'max_connections',
  'max_worker_processes',
  'max_wal_senders',
  'max_prepared_transactions',
  'max_locks_per_transaction',
] as const

/** Libraries whose workers do things by themselves: run jobs, replicate, fail over. A copy must do nothing to anybody. */
const acting = [
  ...['pg_cron', 'pg_partman_bgw', 'pg_dbms_job', 'pg_net', 'pglogical', 'spock', 'bdr', 'pgactive', 'citus'],
  ...['repmgr', 'pgautofailover', 'pg_failover_slots'],
]

/** One parameter of a server of ours. */
interface Decision {
  name: string
  /** Null: not given. */
  value: string | ((purpose: ServerPurpose) => string | null)
  /** Why it is not left to the copy's own configuration. */
  reason: string
  /** First major version that knows it, and the last. */
  since?: number
  until?: number
}

/**
 * Every parameter that can delay, stop or falsify the start, the recovery or the checks of a copy, decided. What is not here
 * can do none of that, or has PostgreSQL's own default because no configuration but ours is read.
 */
const decisions: readonly Decision[] = [
  // Where the server finds itself.
  { name: 'data_directory', value: ({ directory }) => directory, reason: 'a configuration file may name the live one' },
  { name: 'hba_file', value: ({ room }) => join(room, 'pg_hba.conf'), reason: 'ours lets in its user and root' },
  { name: 'ident_file', value: ({ room }) => join(room, 'pg_ident.conf'), reason: 'as hba_file' },
  { name: 'listen_addresses', value: '', reason: 'nobody reaches a copy by accident' },
  { name: 'port', value: String(SOCKET_PORT), reason: 'part of the socket’s name' },
  { name: 'unix_socket_directories', value: ({ room }) => room, reason: 'the live server’s is taken' },
  { name: 'unix_socket_permissions', value: '0700', reason: 'its user’s and root’s' },
  { name: 'unix_socket_group', value: '', reason: 'a group that does not exist here stops the start' },
  { name: 'external_pid_file', value: '', reason: 'it is the live server’s' },
  { name: 'bonjour', value: 'off', reason: 'it announces the copy' },
  { name: 'ssl', value: 'off', reason: 'a certificate that is not here stops the start' },
  { name: 'db_user_namespace', value: 'off', reason: 'role names would need an @', until: 16 },
  // Where its words go: they are read.
  { name: 'logging_collector', value: 'off', reason: 'its log is our file' },
  { name: 'log_destination', value: 'stderr', reason: 'as logging_collector' },
  { name: 'log_line_prefix', value: '%m [%p] ', reason: 'its lines are read' },
  { name: 'log_error_verbosity', value: 'default', reason: 'as log_line_prefix' },
  { name: 'log_timezone', value: 'UTC', reason: 'as log_line_prefix' },
  { name: 'log_min_messages', value: 'warning', reason: 'what is looked for must be there' },
  { name: 'log_statement', value: 'none', reason: 'the log stays small' },
  { name: 'log_hostname', value: 'off', reason: 'looking up names delays' },
  { name: 'lc_messages', value: 'C', reason: 'its words are looked for' },
  ...['lc_monetary', 'lc_numeric', 'lc_time'].map(name => ({ name, value: 'C', reason: 'there on every machine' })),
  // Memory and what it takes of the machine.
  { name: 'shared_buffers', value: '128MB', reason: 'the live server’s memory is not here twice' },
  { name: 'huge_pages', value: 'off', reason: 'as shared_buffers' },
  { name: 'shared_memory_type', value: 'mmap', reason: 'System V limits stop the start' },
  { name: 'dynamic_shared_memory_type', value: 'mmap', reason: 'a small /dev/shm stops the start and queries' },
  { name: 'min_dynamic_shared_memory', value: '0', reason: 'as shared_buffers', since: 14 },
  { name: 'effective_io_concurrency', value: '0', reason: 'not every platform takes another value' },
  { name: 'maintenance_io_concurrency', value: '0', reason: 'as effective_io_concurrency' },
  { name: 'io_method', value: 'worker', reason: 'io_uring may be forbidden or not built in', since: 18 },
  { name: 'superuser_reserved_connections', value: '0', reason: 'more than max_connections stops the start' },
  { name: 'reserved_connections', value: '0', reason: 'as superuser_reserved_connections', since: 16 },
  ...raisable.map(name => ({
    name,
    value: ({ captured }: ServerPurpose) => captured[name] ?? null,
    reason: 'recovery needs it as large as where the WAL was written',
  })),
  // Libraries.
  {
    name: 'dynamic_library_path',
    value: ({ captured }) => captured.dynamic_library_path ?? null,
    reason: 'the libraries that the cluster names may lie there',
  },
  {
    name: 'shared_preload_libraries',
    value: ({ captured }) => sharedLibraries(captured.shared_preload_libraries ?? '').join(', '),
    reason: 'WAL and content may need them; those that act by themselves are left out',
  },
  { name: 'session_preload_libraries', value: '', reason: 'one that is not here refuses every session' },
  { name: 'local_preload_libraries', value: '', reason: 'as session_preload_libraries' },
  { name: 'jit', value: 'off', reason: 'its library may be missing or of another version' },
  { name: 'oauth_validator_libraries', value: '', reason: 'nobody logs in with tokens', since: 18 },
  // WAL: its size, and what is written into it.
  { name: 'min_wal_size', value: purpose => walSize(purpose, DEFAULT_MIN_WAL_MB), reason: 'two segments at least' },
  { name: 'max_wal_size', value: purpose => walSize(purpose, DEFAULT_MAX_WAL_MB), reason: 'as min_wal_size' },
  { name: 'wal_level', value: 'replica', reason: 'minimal goes with no max_wal_senders' },
  {
    name: 'track_commit_timestamp',
    value: ({ captured }) => captured.track_commit_timestamp ?? null,
    reason: 'a server without it removes the times of commits that the copy holds',
  },
  { name: 'wal_consistency_checking', value: '', reason: 'a debugging aid that stops recovery' },
  { name: 'fsync', value: 'on', reason: 'a copy that stays is durable' },
  { name: 'full_page_writes', value: 'on', reason: 'as fsync' },
  { name: 'synchronous_standby_names', value: '', reason: 'commits would wait for standbys' },
  { name: 'max_slot_wal_keep_size', value: '-1', reason: 'no slot of the copy is taken for one that is lost' },
  // Recovery.
  {
    name: 'hot_standby',
    value: ({ pauses }) => (pauses ? 'on' : 'off'),
    reason: 'with it a parameter that was raised since the base stops recovery',
  },
  {
    name: 'recovery_target_action',
    value: ({ recoveryAction }) => recoveryAction ?? null,
    reason: 'a copy that shuts down at its target is looked at there before, and goes on when it is told to',
  },
  { name: 'recovery_min_apply_delay', value: '0', reason: 'recovery would wait' },
  { name: 'promote_trigger_file', value: '', reason: 'a file that is there ends recovery early', until: 15 },
  { name: 'ignore_invalid_pages', value: 'off', reason: 'it hides what is missing' },
  { name: 'recovery_init_sync_method', value: 'fsync', reason: 'not every platform has the other', since: 14 },
  { name: 'archive_cleanup_command', value: '', reason: 'it removes WAL that is not the copy’s' },
  // recovery_end_command is ours: it tidies up after the recovery.
  {
    name: 'allow_in_place_tablespaces',
    value: ({ inPlaceTablespaces }) => (inPlaceTablespaces === true ? 'on' : null),
    reason: 'without it a directory in pg_tblspc stops recovery',
  },
  // It acts on nobody.
  { name: 'archive_mode', value: 'off', reason: 'a promoted copy must not write into an archive' },
  { name: 'archive_command', value: '', reason: 'as archive_mode' },
  { name: 'archive_library', value: '', reason: 'as archive_mode', since: 15 },
  { name: 'primary_conninfo', value: '', reason: 'it reaches no primary' },
  { name: 'primary_slot_name', value: '', reason: 'as primary_conninfo' },
  { name: 'hot_standby_feedback', value: 'off', reason: 'as primary_conninfo' },
  { name: 'max_logical_replication_workers', value: '0', reason: 'it reaches no publisher' },
  { name: 'sync_replication_slots', value: 'off', reason: 'as primary_conninfo', since: 17 },
  { name: 'synchronized_standby_slots', value: '', reason: 'as synchronous_standby_names', since: 17 },
  { name: 'summarize_wal', value: 'off', reason: 'nothing needs it here', since: 17 },
  { name: 'event_triggers', value: 'off', reason: 'one for logins may refuse every session', since: 17 },
  // Delays, limits and debugging aids that a session inherits.
  { name: 'pre_auth_delay', value: '0', reason: 'a debugging aid that waits' },
  { name: 'post_auth_delay', value: '0', reason: 'as pre_auth_delay' },
  { name: 'restart_after_crash', value: 'off', reason: 'a server that crashes again and again is never ready' },
  { name: 'zero_damaged_pages', value: 'off', reason: 'it hides damage and makes it worse' },
  { name: 'ignore_checksum_failure', value: 'off', reason: 'it hides damage' },
  { name: 'ignore_system_indexes', value: 'off', reason: 'it hides damage' },
]

/** What a session of ours needs otherwise than its role, its database or the copy’s configuration says. */
interface SessionDecision extends Omit<Decision, 'value'> {
  value: string
  /** Only a superuser may give it. */
  privileged?: true
  /** Content checks are written for the application’s own value. */
  onlyOurs?: true
}

const sessionDecisions: readonly SessionDecision[] = [
  { name: 'statement_timeout', value: '0', reason: 'checks of a large cluster last' },
  { name: 'lock_timeout', value: '0', reason: 'as statement_timeout' },
  { name: 'idle_in_transaction_session_timeout', value: '0', reason: 'as statement_timeout' },
  { name: 'idle_session_timeout', value: '0', reason: 'as statement_timeout', since: 14 },
  { name: 'transaction_timeout', value: '0', reason: 'as statement_timeout', since: 17 },
  { name: 'default_transaction_isolation', value: 'read committed', reason: 'standing at a target allows no other' },
  { name: 'default_transaction_deferrable', value: 'off', reason: 'it waits' },
  { name: 'role', value: 'none', reason: 'another role may not see everything' },
  { name: 'exit_on_error', value: 'off', reason: 'an error is an answer' },
  { name: 'jit', value: 'off', reason: 'its library may be missing or of another version' },
  { name: 'local_preload_libraries', value: '', reason: 'one that is not here refuses the session' },
  { name: 'default_table_access_method', value: 'heap', reason: 'another one’s extension may be missing' },
  { name: 'default_tablespace', value: '', reason: 'it may not be here' },
  { name: 'temp_tablespaces', value: '', reason: 'as default_tablespace' },
  {
    name: 'search_path',
    value: 'pg_catalog',
    reason: 'nothing of the copy’s stands in for a function',
    onlyOurs: true,
  },
  {
    name: 'session_preload_libraries',
    value: '',
    reason: 'one that is not here refuses the session',
    privileged: true,
  },
  { name: 'session_replication_role', value: 'replica', reason: 'no trigger fires, also of DDL', privileged: true },
  { name: 'event_triggers', value: 'off', reason: 'as session_replication_role', since: 17, privileged: true },
  { name: 'temp_file_limit', value: '-1', reason: 'checks of a large cluster sort', privileged: true },
  { name: 'max_stack_depth', value: '2MB', reason: 'PostgreSQL’s own default', privileged: true },
  { name: 'zero_damaged_pages', value: 'off', reason: 'it hides damage', privileged: true },
  { name: 'ignore_checksum_failure', value: 'off', reason: 'it hides damage', privileged: true },
]

/**
 * Settings for running a restored copy: a private socket and nothing else. They are given on the command line, which wins
 * over the copy's own `postgresql.auto.conf`; of the copy's other configuration nothing is read.
 */
export function serverSettings(purpose: ServerPurpose): [string, string][] {
  return decisions.filter(known(purpose.major)).flatMap(({ name, value }): [string, string][] => {
    const given = typeof value === 'string' ? value : value(purpose)
    return given === null ? [] : [[name, given]]
  })
}

/**
 * `PGOPTIONS` of a session on a copy: they win over what `ALTER ROLE` and `ALTER DATABASE` have set.
 *
 * @param as superuser: also what only one may set. readOnly: for content checks
 */
export function sessionOptions(major: number, as: { superuser: boolean; readOnly: boolean; ours: boolean }): string {
  const wanted = sessionDecisions
    .filter(known(major))
    .filter(({ privileged, onlyOurs }) => (as.superuser || privileged !== true) && (as.ours || onlyOurs !== true))
    .map(({ name, value }): [string, string] => [name, value])
  wanted.push(['default_transaction_read_only', as.readOnly ? 'on' : 'off'])
  return wanted.map(([name, value]) => `-c ${name}=${value.replace(/[\\ ]/g, '\\$&')}`).join(' ')
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
export function sharedLibraries(list: string): string[] {
  const names = list.split(',').map(name => name.trim().replaceAll('"', ''))
  return names.filter(name => name !== '' && !acting.includes(name.replace(/^.*\//, '').replace(/\.so$/, '')))
}

function known(major: number): (decision: Pick<Decision, 'since' | 'until'>) => boolean {
  return ({ since = 0, until = Infinity }) => since <= major && major <= until
}

/** PostgreSQL's default, or two segments where those are larger (PostgreSQL xlog.c, ReadControlFile). */
function walSize({ walSegmentBytes = DEFAULT_SEGMENT_BYTES }: ServerPurpose, megabytes: number): string {
  return `${Math.max(megabytes, 2 * Math.ceil(walSegmentBytes / MEGABYTE))}MB`
}
