import { join } from 'node:path'
import { NexusError } from '../../errors.js'
import type { Programs } from './programs.js'

/** What `global/pg_control` of a data directory says. */
export interface ControlData {
  systemIdentifier: string
  /** `shut down`, `in production`, … */
  state: string
  dataChecksums: boolean
  /** Bytes of a WAL segment; null where it is not told. */
  walSegmentBytes: number | null
  /** Parameters that a server which reads this directory's WAL needs as they were, by their name. */
  settings: Record<string, string>
}

/** Names of pg_controldata for the parameters that are logged in WAL (PostgreSQL xlog.c, XLogReportParameters). */
const reported: Readonly<Record<string, string>> = {
  max_connections: 'max_connections setting',
  max_worker_processes: 'max_worker_processes setting',
  max_wal_senders: 'max_wal_senders setting',
  max_prepared_transactions: 'max_prepared_xacts setting',
  max_locks_per_transaction: 'max_locks_per_xact setting',
  track_commit_timestamp: 'track_commit_timestamp setting',
}

/** Reads the control file of a data directory. @throws NexusError `control_unreadable` */
export async function readControlData(programs: Programs, directory: string): Promise<ControlData> {
  const { execa } = await import('execa')
  const { stdout, stderr, exitCode } = await execa(join(programs.directory, 'pg_controldata'), ['-D', directory], {
    env: { LC_ALL: 'C' },
    extendEnv: false,
    reject: false,
    stdin: 'ignore',
  })
  const control = exitCode === 0 ? parseControlData(stdout) : null
  if (control !== null) return control
  throw new NexusError('failed', 'control_unreadable', `pg_controldata cannot read ${directory}: ${stderr.trim()}`, {
    hint: `is it a data directory of PostgreSQL ${programs.major}?`,
  })
}

/** Reads what pg_controldata prints in the C locale; null when it is not that. */
export function parseControlData(text: string): ControlData | null {
  const values = new Map<string, string>()
  for (const line of text.split('\n')) {
    const [, name, value] = /^([^:]+):\s*(.*)$/.exec(line) ?? []
    if (name !== undefined && value !== undefined) values.set(name, value)
  }
  const systemIdentifier = values.get('Database system identifier')
  const state = values.get('Database cluster state')
  if (systemIdentifier === undefined || state === undefined) return null
  const settings: Record<string, string> = {}
  for (const [name, label] of Object.entries(reported)) {
    const value = values.get(label)
    if (value !== undefined) settings[name] = value
  }
  const checksums = values.get('Data page checksum version')
  const segment = Number(values.get('Bytes per WAL segment') ?? Number.NaN)
  const walSegmentBytes = Number.isInteger(segment) && segment > 0 ? segment : null
  return {
    systemIdentifier,
    state,
    walSegmentBytes,
    dataChecksums: checksums !== undefined && checksums !== '0',
    settings,
  }
}
