import { NexusError } from '../../errors.js'
import { type ArchivingState, readArchiving } from './archiving.js'
import { directoryProblems } from './capture.js'
import { withParameter } from './connection.js'
import { explainFailure } from './explain.js'
import { bareOutput, type PostgresSession, queryJson, sessionCommand } from './psql.js'
import { accessProblems, connectionProblems, roleInSql, tablespaceProblems, walLevelProblems } from './requirements.js'
import { type ClusterSettings, openSession } from './session.js'

/** What a server answers when it is asked whether it can be backed up. */
export interface ServerAnswer {
  /** `15.18`; null where it could not be asked. */
  version: string | null
  /** Everything that keeps backups from being made. */
  problems: NexusError[]
  /** Null where the role may not see it. */
  archiving: ArchivingState | null
  /** Why it could not be asked, where that says nothing of the configuration: it does not run, or not here. */
  away: string | null
}

/** Says nothing of the configuration: tomorrow it may be there. */
const passing: ReadonlySet<string> = new Set(['server_unreachable', 'server_not_ready', 'connections_exhausted'])

/**
 * Asks a server for everything that a backup, and `pitr check`, will need of it. Nothing is written, and one thing that is
 * missing hides no other.
 *
 * @param wishes.switchesWal whether the role must be able to end a WAL segment
 */
export async function askServer(
  settings: ClusterSettings,
  around: { env: Record<string, string | undefined>; signal: AbortSignal },
  { switchesWal }: { switchesWal: boolean },
): Promise<ServerAnswer> {
  const answer: ServerAnswer = { version: null, problems: [], archiving: null, away: null }
  try {
    const session = await openSession(settings, ['pg_basebackup', 'psql'], around)
    const facts = (await queryJson(session, QUERY)) as Facts
    answer.version = facts.version.split(' ')[0] ?? null
    answer.problems.push(
      ...accessProblems(facts),
      ...walLevelProblems(facts.wal_level),
      ...connectionProblems({ walSenders: facts.max_wal_senders, slots: facts.max_replication_slots }),
      ...tablespaceProblems(facts.tablespaces),
    )
    if (switchesWal && !facts.switches) answer.problems.push(cannotSwitch(facts.role))
    if (facts.data_directory !== null) {
      answer.problems.push(...directoryProblems(settings, { dataDirectory: facts.data_directory }))
    }
    if (facts.replication && facts.max_wal_senders > 0) answer.problems.push(...(await replicationProblems(session)))
    if (facts.monitor) answer.archiving = await readArchiving(session)
  } catch (error) {
    around.signal.throwIfAborted()
    if (!(error instanceof NexusError)) throw error
    if (passing.has(error.code)) answer.away = error.message
    else answer.problems.push(error)
  }
  return answer
}

interface Facts {
  version: string
  role: string
  replication: boolean
  monitor: boolean
  switches: boolean
  wal_level: string
  max_wal_senders: number
  max_replication_slots: number
  /** Null where the role may not see it. */
  data_directory: string | null
  tablespaces: { oid: number; path: string }[]
}

function cannotSwitch(role: string): NexusError {
  return new NexusError('failed', 'role_lacks_switch', `the role ${role} may not switch WAL segments, for pitr check`, {
    hint: `as a superuser, in the database of the connection: GRANT EXECUTE ON FUNCTION pg_switch_wal() TO ${roleInSql(role)}`,
  })
}

/** Connections for replication have lines of their own in pg_hba.conf. */
async function replicationProblems(session: PostgresSession): Promise<NexusError[]> {
  const { execa } = await import('execa')
  const replication = { ...session, connection: withParameter(session.connection, 'replication', 'true') }
  const { file, args, options } = sessionCommand(replication, 'psql', [...bareOutput, '-c', 'IDENTIFY_SYSTEM'])
  const { stderr, failed, shortMessage } = await execa(file, args, {
    ...options,
    stdin: 'ignore',
    reject: false,
    cancelSignal: session.signal,
  })
  session.signal.throwIfAborted()
  if (!failed) return []
  const what = 'a connection for replication'
  return [explainFailure(stderr === '' ? (shortMessage ?? '') : stderr, { what, account: session.account })]
}

const QUERY = `SELECT json_build_object(
  'version', current_setting('server_version'),
  'role', current_user,
  'replication', (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user),
  'monitor', pg_has_role(current_user, 'pg_monitor', 'USAGE'),
  'switches', has_function_privilege('pg_catalog.pg_switch_wal()', 'EXECUTE'),
  'wal_level', current_setting('wal_level'),
  'max_wal_senders', current_setting('max_wal_senders')::int,
  'max_replication_slots', current_setting('max_replication_slots')::int,
  'data_directory', (SELECT setting FROM pg_settings WHERE name = 'data_directory'),
  'tablespaces', (SELECT coalesce(json_agg(json_build_object('oid', oid::bigint, 'path', pg_tablespace_location(oid)) ORDER BY oid), '[]')
    FROM pg_tablespace WHERE pg_tablespace_location(oid) <> ''))`
