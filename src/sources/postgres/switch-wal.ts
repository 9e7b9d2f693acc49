import { NexusError } from '../../errors.js'
import { type PostgresSession, queryJson } from './psql.js'
import { roleInSql } from './requirements.js'

/**
 * Ends the current WAL segment of a primary, so that it is archived now. A message of this program's is written first: a
 * segment without a record is not switched.
 *
 * @returns name of the segment that was ended
 * @throws NexusError failed `role_lacks_switch` with the GRANT that allows it
 */
export async function switchWal(session: PostgresSession): Promise<string> {
  const { role, allowed } = (await queryJson(session, ALLOWED)) as { role: string; allowed: boolean }
  if (!allowed) {
    throw new NexusError('failed', 'role_lacks_switch', `the role ${role} may not switch WAL segments`, {
      hint: `as a superuser, in the database of the connection: GRANT EXECUTE ON FUNCTION pg_switch_wal() TO ${roleInSql(role)}`,
    })
  }
  return String(await queryJson(session, SWITCH))
}

const ALLOWED = `SELECT json_build_object('role', current_user,
  'allowed', has_function_privilege('pg_catalog.pg_switch_wal()', 'EXECUTE'))`

const SWITCH = `WITH written AS MATERIALIZED (SELECT pg_logical_emit_message(false, 'nexus-backup', 'pitr check') AS lsn)
  SELECT to_json(pg_walfile_name(pg_switch_wal())) FROM written WHERE lsn IS NOT NULL`
