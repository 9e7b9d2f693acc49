import { type PostgresSession, queryJson } from './psql.js'

/** What a server tells of its archiving. Instants are ISO 8601 UTC. */
export interface ArchivingState {
  systemIdentifier: string
  /** In recovery: WAL is switched and, unless archive_mode is `always`, archived by its primary. */
  standby: boolean
  walLevel: string
  archiveMode: 'off' | 'on' | 'always'
  /** Empty when none is set. */
  command: string
  /** Empty when none is set, and before PostgreSQL 15. */
  library: string
  /** Segments that wait to be archived. */
  waiting: number
  /** Seconds since the one that waits longest was finished; null when none waits. */
  waitingSeconds: number | null
  lastArchived: { name: string; at: string } | null
  lastFailed: { name: string; at: string } | null
}

/** Something that keeps WAL from the archive. */
export interface ArchivingProblem {
  code: 'archiving_off' | 'archiving_unset' | 'archiving_fails' | 'archiving_waits'
  message: string
  hint: string
}

/** A server under load has segments waiting; one that has waited this long is not being archived. */
const WAITING_TOO_LONG_SECONDS = 600

/** Asks a server, of version 13 or later. @throws NexusError as `queryJson` does; the role needs pg_monitor */
export async function readArchiving(session: PostgresSession): Promise<ArchivingState> {
  const answer = (await queryJson(session, QUERY)) as Answer
  const { settings } = answer
  const at = (name: string | null, time: string | null) => (name === null || time === null ? null : { name, at: time })
  const mode = settings.archive_mode
  const isOn = mode === 'on' || mode === 'always'
  return {
    systemIdentifier: answer.system_identifier,
    standby: answer.standby,
    walLevel: settings.wal_level ?? '',
    archiveMode: isOn ? mode : 'off',
    // The server shows "(disabled)" while archive_mode is off.
    command: isOn ? (settings.archive_command ?? '') : '',
    library: settings.archive_library ?? '',
    waiting: answer.waiting,
    waitingSeconds: answer.waiting_seconds,
    lastArchived: at(answer.archived_name, answer.archived_at),
    lastFailed: at(answer.failed_name, answer.failed_at),
  }
}

/**
 * What is wrong with archiving, the first cause only: an operator mends one thing and looks again.
 *
 * @param name the source, for messages and hints
 */
export function archivingProblem(name: string, state: ArchivingState): ArchivingProblem | null {
  const { archiveMode, command, library, standby, waiting, waitingSeconds, lastArchived, lastFailed } = state
  const again = `then see that it works: nexus-backup pitr check ${name}`
  if (archiveMode === 'off') {
    return {
      code: 'archiving_off',
      message: `${name}: archive_mode is off: nothing after the end of a backup can be brought back`,
      hint: `set archive_mode = on and archive_command (nexus-backup-pitr(1)) and restart the server; ${again}`,
    }
  }
  // A standby archives only with "always".
  if (standby && archiveMode === 'on') return null
  const queue = waiting === 0 ? '' : `; ${waiting} ${waiting === 1 ? 'segment waits' : 'segments wait'}`
  const last = lastArchived === null ? 'none was ever archived' : `the last one archived was ${lastArchived.name}`
  if (command === '' && library === '') {
    return {
      code: 'archiving_unset',
      message: `${name}: archive_mode is on and archive_command is empty${queue}`,
      hint: `set archive_command (nexus-backup-pitr(1)) and reload the server; ${again}`,
    }
  }
  const seeLog = `the server's log says why, and so does the archive_command when the server's user runs it by hand`
  if (lastFailed !== null && (lastArchived === null || lastFailed.at > lastArchived.at)) {
    return {
      code: 'archiving_fails',
      message: `${name}: archiving fails: ${lastFailed.name} at ${lastFailed.at}, ${last}${queue}`,
      hint: `${seeLog}; ${again}`,
    }
  }
  if (waiting === 0 || waitingSeconds === null || waitingSeconds < WAITING_TOO_LONG_SECONDS) return null
  return {
    code: 'archiving_waits',
    message: `${name}: WAL is not archived for ${Math.round(waitingSeconds / 60)} minutes: ${last}${queue}`,
    hint: `${seeLog}; a status above 125 is not counted as a failure by the server; ${again}`,
  }
}

interface Answer {
  system_identifier: string
  standby: boolean
  settings: Partial<Record<string, string>>
  waiting: number
  waiting_seconds: number | null
  archived_name: string | null
  archived_at: string | null
  failed_name: string | null
  failed_at: string | null
}

const iso = (time: string) => `to_char(${time} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`

const QUERY = `SELECT json_build_object(
  'system_identifier', (SELECT system_identifier::text FROM pg_control_system()),
  'standby', pg_is_in_recovery(),
  'settings', (SELECT json_object_agg(name, setting) FROM pg_settings
    WHERE name IN ('wal_level', 'archive_mode', 'archive_command', 'archive_library')),
  'waiting', ready.waiting,
  'waiting_seconds', ready.seconds,
  'archived_name', last_archived_wal, 'archived_at', ${iso('last_archived_time')},
  'failed_name', last_failed_wal, 'failed_at', ${iso('last_failed_time')})
FROM pg_stat_archiver, (
  SELECT count(*) AS waiting, extract(epoch FROM now() - min(modification)) AS seconds
  FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready') AS ready`
