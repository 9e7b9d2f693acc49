/**
 * PostgreSQL's parameters for archive recovery, recovery targets and standby servers, each decided (`pg_settings`, the
 * categories in `recoveryCategories`). A restored cluster recovers as it is told, whatever its own files say, and keeps
 * nothing of an earlier recovery or of the standby that it was copied from.
 */

export interface RecoveryParameter {
  name: string
  /** First and last major version that has it; a server does not start with a name it does not know. */
  since?: number
  until?: number
  /** Its value while the restored cluster recovers; null: as the cluster has it. */
  during: string | null
  /** Taken out of postgresql.auto.conf: it says where an earlier recovery ended, or whom a standby followed. */
  leaves: boolean
}

/** Of `pg_settings`, where these parameters stand. A new one in them needs a decision here. */
export const recoveryCategories: readonly string[] = [
  'Write-Ahead Log / Archive Recovery',
  'Write-Ahead Log / Recovery Target',
  'Replication / Standby Servers',
]

/** Where recovery ends: two that are set are an error, and one that stays ends a standby's recovery there. */
export const recoveryTargets: readonly string[] = [
  'recovery_target',
  'recovery_target_lsn',
  'recovery_target_name',
  'recovery_target_time',
  'recovery_target_xid',
]

export const recoveryParameters: readonly RecoveryParameter[] = [
  // Ours set the one that is meant; the server takes an empty one after it for none at all, so these come first.
  ...recoveryTargets.map(name => ({ name, during: '', leaves: true })),
  { name: 'recovery_target_inclusive', during: 'on', leaves: true },
  { name: 'recovery_target_action', during: 'promote', leaves: true },
  { name: 'recovery_target_timeline', during: 'latest', leaves: true },
  { name: 'restore_command', during: '', leaves: true },
  { name: 'recovery_end_command', during: '', leaves: true },
  // It removes files of an archive that others need.
  { name: 'archive_cleanup_command', during: '', leaves: true },
  { name: 'primary_conninfo', during: '', leaves: true },
  { name: 'primary_slot_name', during: '', leaves: true },
  // It also delays a recovery to a target.
  { name: 'recovery_min_apply_delay', during: '0', leaves: true },
  // A file of that name would end the recovery early.
  { name: 'promote_trigger_file', until: 15, during: '', leaves: true },
  { name: 'sync_replication_slots', since: 17, during: 'off', leaves: true },
  // A reader may hold recovery up for so long; -1 would be for ever.
  { name: 'max_standby_archive_delay', during: '30s', leaves: false },
  // These do nothing without a primary, or say only whether one can look on.
  { name: 'max_standby_streaming_delay', during: null, leaves: false },
  { name: 'hot_standby', during: null, leaves: false },
  { name: 'hot_standby_feedback', during: null, leaves: false },
  { name: 'wal_receiver_create_temp_slot', during: null, leaves: false },
  { name: 'wal_receiver_status_interval', during: null, leaves: false },
  { name: 'wal_receiver_timeout', during: null, leaves: false },
  { name: 'wal_retrieve_retry_interval', during: null, leaves: false },
]

/** The parameters that a server of this major version knows. */
export function parametersOf(major: number): RecoveryParameter[] {
  return recoveryParameters.filter(({ since = 0, until = major }) => since <= major && major <= until)
}
