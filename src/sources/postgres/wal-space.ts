import { statfsSync } from 'node:fs'
import { join } from 'node:path'
import { errnoOf } from '../../errors.js'
import { runsHere } from './locality.js'
import { type PostgresSession, queryJson } from './psql.js'

/** How long a server can go on writing WAL that is not archived. */
export interface WalSpace {
  /** Bytes free on the file system of pg_wal. */
  free_bytes: number
  /** Bytes in pg_wal that wait to be archived; they are not free. */
  waiting_bytes: number
  /** Bytes of WAL that the server writes in an hour; null where too little was written to tell. */
  bytes_per_hour: number | null
  /** Until pg_wal is full, where nothing is archived from now on; null where the rate is not known. */
  hours_left: number | null
}

/** What a server says of its WAL. */
export interface WalPace {
  segmentBytes: number
  /** Segments that wait to be archived. */
  waiting: number
  /** Whole segments that are still in pg_wal. */
  finished: number
  /** Seconds since the oldest of them was finished; null where there is none. */
  seconds: number | null
  /** Segments archived since the server's statistics were reset. */
  archived: number
  /** Seconds since then. */
  archivedSeconds: number | null
}

const HOUR_S = 3600
/** Below this pg_wal is said to fill up. */
const WARNED_HOURS = 24
/** A shorter time says too little of an hour. */
const LEAST_SECONDS = 60

/**
 * How long pg_wal lasts by the pace of the last segments, or by that since the statistics were reset, whichever is faster.
 *
 * @param free bytes on its file system
 */
export function walSpaceOf(pace: WalPace, free: number): WalSpace {
  const perHour = (segments: number, seconds: number | null) =>
    seconds === null || seconds < LEAST_SECONDS ? 0 : (segments * pace.segmentBytes * HOUR_S) / seconds
  // The oldest was finished when the time began: what was written in it are the others.
  const rate = Math.max(perHour(pace.finished - 1, pace.seconds), perHour(pace.archived, pace.archivedSeconds))
  const bytesPerHour = rate > 0 ? Math.round(rate) : null
  return {
    free_bytes: free,
    waiting_bytes: pace.waiting * pace.segmentBytes,
    bytes_per_hour: bytesPerHour,
    hours_left: bytesPerHour === null ? null : Math.floor((10 * free) / bytesPerHour) / 10,
  }
}

/** What is said where pg_wal does not last a night and a morning without anybody; null where it does, or nothing tells. */
export function spaceWarning(name: string, space: WalSpace): string | null {
  const { hours_left: hours, free_bytes: free, waiting_bytes: waiting } = space
  if (hours === null || hours >= WARNED_HOURS) return null
  const waits = waiting === 0 ? '' : `, and ${Math.ceil(waiting / 1e6)} MB wait to be archived`
  return `${name}: pg_wal is full in ${hours} hours when nothing is archived (${Math.floor(free / 1e6)} MB are free${waits}): the server then stops; what to do: nexus-backup-recovery(7), “The repository is away”`
}

/** The same of a server; null of one on another machine, of a standby, and where its directory is closed to us. */
export async function readWalSpace(session: PostgresSession): Promise<WalSpace | null> {
  const answer = (await queryJson(session, QUERY)) as Answer
  const { data_directory: dataDirectory, through_socket: throughSocket, started_at: startedAt, pace } = answer
  if (pace === null || !runsHere({ dataDirectory, throughSocket, startedAt })) return null
  try {
    const { bavail, bsize } = statfsSync(join(dataDirectory, 'pg_wal'))
    return walSpaceOf(
      { ...pace, archivedSeconds: pace.archived_seconds, segmentBytes: pace.segment_bytes },
      bavail * bsize,
    )
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
}

interface Answer {
  data_directory: string
  through_socket: boolean
  started_at: number
  pace:
    | (Omit<WalPace, 'archivedSeconds' | 'segmentBytes'> & { archived_seconds: number | null; segment_bytes: number })
    | null
}

// What the server keeps for later has names that are still to come.
const QUERY = `SELECT json_build_object(
  'data_directory', current_setting('data_directory'),
  'through_socket', inet_server_addr() IS NULL,
  'started_at', floor(extract(epoch FROM pg_postmaster_start_time())),
  'pace', CASE WHEN pg_is_in_recovery() THEN NULL ELSE (SELECT json_build_object(
    'segment_bytes', (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'),
    'waiting', (SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'),
    'finished', count(*),
    'seconds', extract(epoch FROM clock_timestamp() - min(modification)),
    'archived', (SELECT archived_count FROM pg_stat_archiver),
    'archived_seconds', (SELECT extract(epoch FROM clock_timestamp() - stats_reset) FROM pg_stat_archiver))
    FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' AND name < pg_walfile_name(pg_current_wal_lsn())) END)`
