import { messageOf } from '../../errors.js'
import { type PostgresSession, queryJson } from './psql.js'
import { connectionTo, type PrivateServer } from './server.js'
import { sessionOptions } from './server-settings.js'

/** A check of a restored copy. */
export interface ClusterCheck {
  name: string
  /** `error`: it could not be run, for a reason that says nothing of the copy. */
  status: 'ok' | 'failed' | 'skipped' | 'error'
  detail: string
}

const MAX_DETAIL = 100_000

/**
 * What PostgreSQL says when stored content is wrong: its codes for corrupted data and indexes (errcodes.txt, class XX), and
 * files of the data directory that are missing.
 */
const wrongContent =
  /\bXX00[12]: |\b58P01: could not open file "(?:base|global|pg_tblspc|pg_xact|pg_multixact|pg_commit_ts)\//

/**
 * Runs content checks on a restored copy, in a transaction that only reads. One whose single value is false has failed, and
 * so has one on whose way PostgreSQL finds stored content wrong; one whose query cannot be run for another reason is an
 * `error`. Its rows are kept as detail.
 *
 * @param database null: the one that the session is connected to
 */
export async function contentChecks(
  server: PrivateServer,
  session: PostgresSession,
  { queries, database, user }: { queries: readonly string[]; database: string | null; user: string },
): Promise<ClusterCheck[]> {
  const connection = database === null ? session.connection : connectionTo(server, database, user)
  const PGOPTIONS = sessionOptions(server.programs.major, { superuser: true, readOnly: true, ours: false })
  const readOnly = { ...session, connection, env: { ...session.env, PGOPTIONS } }
  const checks: ClusterCheck[] = []
  for (const query of queries) checks.push(await contentCheck(readOnly, query))
  return checks
}

async function contentCheck(session: PostgresSession, query: string): Promise<ClusterCheck> {
  // As text inside the JSON: numbers of any size stay as they are. The line end closes a comment.
  const rows = `SELECT to_json(coalesce(json_agg(row_to_json(checked)), '[]')::text) FROM (${query.replace(/;\s*$/, '')}\n) AS checked`
  try {
    const detail = String(await queryJson(session, rows, { sqlstate: true }))
    if (detail.length > MAX_DETAIL) throw new Error(`the result is longer than ${MAX_DETAIL} characters: aggregate it`)
    const isFalse = /^\[\{"(?:[^"\\]|\\.)*":false\}\]$/.test(detail)
    return { name: query, status: isFalse ? 'failed' : 'ok', detail }
  } catch (error) {
    session.signal.throwIfAborted()
    const detail = messageOf(error).replace(/ LOCATION: .*$/, '')
    return { name: query, status: wrongContent.test(detail) ? 'failed' : 'error', detail }
  }
}
