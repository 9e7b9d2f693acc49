import type { BackupSpan } from './backup-notes.js'
import type { ConfigurationFile } from './configuration-files.js'
import type { ClusterProbe } from './probe.js'
import { parseLsn, segmentAt, segmentName } from './wal-names.js'

/** What a manifest keeps of a cluster: enough to restore it to a machine that knows nothing of it. */
export interface ClusterFacts {
  system_identifier: string
  server_version: string
  server_version_num: number
  /** Where the backup ends. */
  timeline: number
  start_lsn: string
  stop_lsn: string
  /** The segments between these, both included, are needed to become consistent; the backup holds them itself. */
  start_segment: string
  stop_segment: string
  wal_segment_bytes: number
  data_checksums: boolean
  data_directory: string
  owner: string
  group: string
  uid: number
  gid: number
  tablespaces: { oid: number; path: string }[]
  /** Where `pg_wal` lay, when it was a link; null when it was none, or on another machine. */
  wal_directory: string | null
  settings: Record<string, string>
  configuration_files: ConfigurationFile[]
  /** Directory in the data directory whose files, the server's logs, are not in the backup; left out where none is. */
  server_logs_left_out?: string
  standby: boolean
}

/** Puts together what was asked before, and what the base backup itself told. */
export function clusterFacts(
  cluster: ClusterProbe,
  span: BackupSpan,
  owner: { owner: string; group: string; uid: number; gid: number },
  {
    configurationFiles,
    walDirectory,
    serverLogsLeftOut = null,
  }: { configurationFiles: ConfigurationFile[]; walDirectory: string | null; serverLogsLeftOut?: string | null },
): ClusterFacts {
  return {
    system_identifier: cluster.systemIdentifier,
    server_version: cluster.serverVersion,
    server_version_num: cluster.serverVersionNumber,
    timeline: span.timeline,
    start_lsn: span.startLsn,
    stop_lsn: span.stopLsn,
    start_segment: span.startSegment,
    stop_segment: lastSegment(span, cluster.walSegmentBytes),
    wal_segment_bytes: cluster.walSegmentBytes,
    data_checksums: cluster.dataChecksums,
    data_directory: cluster.dataDirectory,
    ...owner,
    tablespaces: cluster.tablespaces,
    wal_directory: walDirectory,
    settings: cluster.settings,
    configuration_files: configurationFiles,
    ...(serverLogsLeftOut === null ? {} : { server_logs_left_out: serverLogsLeftOut }),
    standby: span.standby,
  }
}

/** The segment that holds the byte before the stop: at a boundary nothing of the next one is needed (XLByteToPrevSeg). */
function lastSegment({ stopLsn, timeline }: BackupSpan, segmentBytes: number): string {
  const last = (parseLsn(stopLsn) ?? 0n) - 1n
  return segmentName(timeline, segmentAt(last, segmentBytes), segmentBytes)
}
