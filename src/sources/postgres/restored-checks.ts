import { messageOf, NexusError } from '../../errors.js'
import { type PostgresSession, queryJson } from './psql.js'
import { connectionTo, type PrivateServer } from './server.js'

/** A check of a restored copy. */
export interface ClusterCheck {
  name: string
  status: 'ok' | 'failed' | 'skipped'
  detail: string
}

const MAX_DETAIL = 100_000

/**
 * Runs content checks on a restored copy, in a transaction that only reads. One whose query fails has failed, and so has
 * one whose single value is false; its rows are kept as detail.
 *
 * @param database null: the one that the session is connected to
 */
export async function contentChecks(
  server: PrivateServer,
  session: PostgresSession,
  { queries, database, user }: { queries: readonly string[]; database: string | null; user: string },
): Promise<ClusterCheck[]> {
  const connection = database === null ? session.connection : connectionTo(server, database, user)
  const readOnly = { ...session, connection, env: { ...session.env, PGOPTIONS: '-c default_transaction_read_only=on' } }
  const checks: ClusterCheck[] = []
  for (const query of queries) checks.push(await contentCheck(readOnly, query))
  return checks
}

async function contentCheck(session: PostgresSession, query: string): Promise<ClusterCheck> {
  // As text inside the JSON: numbers of any size stay as they are. The line end closes a comment.
  const rows = `SELECT to_json(coalesce(json_agg(row_to_json(checked)), '[]')::text) FROM (${query.replace(/;\s*$/, '')}\n) AS checked`
  try {
    const detail = String(await queryJson(session, rows))
    if (detail.length > MAX_DETAIL) throw new Error(`the result is longer than ${MAX_DETAIL} characters: aggregate it`)
    const isFalse = /^\[\{"(?:[^"\\]|\\.)*":false\}\]$/.test(detail)
    return { name: query, status: isFalse ? 'failed' : 'ok', detail }
  } catch (error) {
    session.signal.throwIfAborted()
    if (error instanceof NexusError && error.code === 'server_unreachable') throw error
    return { name: query, status: 'failed', detail: messageOf(error) }
  }
}
