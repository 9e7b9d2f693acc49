import { NexusError } from '../../errors.js'
import { fileSettings } from './data-links.js'
import { type PostgresSession, queryJson } from './psql.js'
import { type Access, accessProblems, tablespaceProblems, walLevelProblems } from './requirements.js'

/** What a server tells about its cluster before a base backup. */
export interface ClusterProbe {
  /** Names the cluster for ever; copies and standbys share it. */
  systemIdentifier: string
  /** `15.18` */
  serverVersion: string
  /** `150018` */
  serverVersionNumber: number
  /** As the server names it, on its machine. */
  dataDirectory: string
  /** The parameter `log_directory`: absolute, or relative to the data directory. */
  logDirectory: string
  /** Of the last checkpoint. */
  timeline: number
  /** Bytes of a WAL segment. */
  walSegmentBytes: number
  dataChecksums: boolean
  /** In recovery. */
  standby: boolean
  /** Reached through a Unix socket, and so on this machine. */
  throughSocket: boolean
  /** Seconds since 1970: which run of the server answered. */
  startedAt: number
  tablespaces: { oid: number; path: string }[]
  /** Files that it needs to start, by the parameter that names them. */
  files: Record<string, string>
  /** Bytes of all databases and of the WAL: an estimate of what a full backup reads. */
  estimatedBytes: number
  /** Settings that a server on a copy needs to have as they were, by name. */
  settings: Record<string, string>
  /** Files that the settings come from, and those for authentication. */
  configurationFiles: string[]
}

/** The oldest server that writes a backup manifest. */
const OLDEST = 130_000

/** The first five must not be lower on a standby or a copy in recovery than where the WAL was made (hot standby). */
const keptSettings = [
  ...[
    'max_connections',
    'max_worker_processes',
    'max_wal_senders',
    'max_prepared_transactions',
    'max_locks_per_transaction',
  ],
  ...['shared_preload_libraries', 'dynamic_library_path', 'wal_level', 'data_directory_mode', 'TimeZone'],
]

/** Version of the server, for choosing programs. @throws NexusError as `queryJson` does; `server_too_old` */
export async function probeVersion(session: PostgresSession): Promise<number> {
  const version = await queryJson(session, "SELECT current_setting('server_version_num')")
  if (typeof version === 'number' && version >= OLDEST) return version
  throw new NexusError(
    'refused',
    'server_too_old',
    `the server is of version ${version}, backups need PostgreSQL 13 or later`,
    {
      hint: 'upgrade the server, or back it up with pg_dumpall',
    },
  )
}

/**
 * Asks a server, of version 13 or later, for everything a backup must know of it.
 *
 * @throws NexusError `role_lacks_replication`, `role_lacks_monitor`, `wal_level_minimal`, `tablespace_in_place`, and as
 *   `queryJson` does
 */
export async function probeCluster(session: PostgresSession): Promise<ClusterProbe> {
  assertNone(accessProblems((await queryJson(session, ACCESS)) as Access))
  const answer = (await queryJson(session, PROBE)) as Answer
  const setting = (name: string) => answer.settings[name] ?? ''
  assertNone(walLevelProblems(setting('wal_level')))
  const { tablespaces, standby, settings } = answer
  assertNone(tablespaceProblems(tablespaces))
  return {
    systemIdentifier: answer.system_identifier,
    serverVersion: setting('server_version').split(' ')[0] ?? '',
    serverVersionNumber: Number(setting('server_version_num')),
    dataDirectory: setting('data_directory'),
    logDirectory: setting('log_directory'),
    timeline: answer.timeline,
    walSegmentBytes: Number(setting('wal_segment_size')),
    dataChecksums: setting('data_checksums') === 'on',
    standby,
    throughSocket: answer.through_socket,
    startedAt: answer.started_at,
    tablespaces,
    files: Object.fromEntries(fileSettings.flatMap(name => (name in settings ? [[name, setting(name)]] : []))),
    estimatedBytes: answer.bytes,
    settings: Object.fromEntries(keptSettings.flatMap(name => (name in settings ? [[name, setting(name)]] : []))),
    configurationFiles: answer.configuration_files,
  }
}

/**
 * The server's clock now, rounded up to a millisecond: no commit that the server saw before has a later time. A standby
 * stamps nothing itself, what it replays carries the primary's clock, which may be ahead of its own.
 */
export async function serverTime(session: PostgresSession): Promise<Date> {
  const milliseconds = await queryJson(session, CLOCK)
  return new Date(Number(milliseconds))
}

interface Answer {
  system_identifier: string
  timeline: number
  standby: boolean
  through_socket: boolean
  started_at: number
  tablespaces: { oid: number; path: string }[]
  bytes: number
  settings: Record<string, string>
  configuration_files: string[]
}

/** @throws NexusError the first */
function assertNone([first]: readonly NexusError[]): void {
  if (first !== undefined) throw first
}

const ACCESS = `SELECT json_build_object(
  'role', current_user,
  'replication', (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user),
  'monitor', pg_has_role(current_user, 'pg_monitor', 'USAGE'))`

const wanted = [
  ...keptSettings,
  ...fileSettings,
  'server_version',
  'server_version_num',
  'data_directory',
  'log_directory',
  'wal_segment_size',
  'data_checksums',
]

// The two built-in tablespaces have no location.
const PROBE = `SELECT json_build_object(
  'system_identifier', (SELECT system_identifier::text FROM pg_control_system()),
  'timeline', (SELECT timeline_id FROM pg_control_checkpoint()),
  'standby', pg_is_in_recovery(),
  'through_socket', inet_server_addr() IS NULL,
  'started_at', floor(extract(epoch FROM pg_postmaster_start_time())),
  'tablespaces', (SELECT coalesce(json_agg(json_build_object('oid', oid::bigint, 'path', pg_tablespace_location(oid)) ORDER BY oid), '[]')
    FROM pg_tablespace WHERE pg_tablespace_location(oid) <> ''),
  'bytes', (SELECT coalesce(sum(pg_database_size(oid)), 0) FROM pg_database) + (SELECT coalesce(sum(size), 0) FROM pg_ls_waldir()),
  'settings', (SELECT json_object_agg(name, setting) FROM pg_settings WHERE name IN (${wanted.map(name => `'${name}'`).join(', ')})),
  'configuration_files', (SELECT coalesce(json_agg(DISTINCT file ORDER BY file), '[]') FROM (
    SELECT sourcefile AS file FROM pg_settings WHERE sourcefile IS NOT NULL
    UNION SELECT setting FROM pg_settings WHERE name IN ('config_file', 'hba_file', 'ident_file') AND setting <> '') AS files))`

const CLOCK =
  'SELECT ceil(extract(epoch FROM greatest(clock_timestamp(), pg_last_xact_replay_timestamp())) * 1000)::bigint'
