import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { NexusError } from '../../errors.js'
import { type PostgresSession, queryJson } from './psql.js'
import { connectionTo, type PrivateServer, plainEnvironment } from './server.js'
import { sessionOptions } from './server-settings.js'

/** How far a recovered server came. */
export interface RecoveredState {
  /** Instant of the last transaction replayed, as ISO 8601 UTC with microseconds; null when none was. */
  at: string | null
  /** Position up to which WAL was replayed. */
  lsn: string
  /** Timeline it is on now. */
  timeline: number
  paused: boolean
}

const POLL_MS = 150
/** In a copy of whatever cluster these are likely to be there. */
const usualDatabases = ['postgres', 'template1']
/** A server that is not ready yet, or has just ended: it is asked again. Any other refusal is its answer. */
const notYet: ReadonlySet<string> = new Set(['server_not_ready', 'server_unreachable', 'connections_exhausted'])

const stateQuery = `
SELECT json_build_object(
  'recovering', pg_is_in_recovery(),
  'paused', CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() ELSE false END,
  'at', to_char(pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
  'lsn', coalesce(pg_last_wal_replay_lsn(), CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_wal_lsn() END),
  'timeline', CASE WHEN pg_is_in_recovery() THEN (SELECT min_recovery_end_timeline FROM pg_control_recovery())
                   ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END)`

/**
 * Waits until recovery is really over: the server takes writes, or stands paused at its target. That a server accepts
 * connections, or that `pg_ctl -w` returned 0, says nothing (anchors/postgres.md 2.4). There is no time limit: it lasts as
 * long as there is WAL, and the signal ends it.
 *
 * @param users to connect as, and databases beside the usual ones, in the order to try
 * @throws NexusError `server_died` with the server's own reason, `recovery_stuck` when it paused before its target,
 *   `role_unknown` and `sessions_refused` when it lets in nobody whom we know
 */
export async function awaitRecovery(
  server: PrivateServer,
  wish: {
    users: readonly string[]
    databases?: readonly string[]
    pauses: boolean
    env: Record<string, string | undefined>
    signal: AbortSignal
  },
): Promise<{ session: PostgresSession; state: RecoveredState }> {
  const sessions = sessionsFor(server, wish)
  for (;;) {
    wish.signal.throwIfAborted()
    server.assertAlive()
    const answer = await firstAnswer(sessions)
    if (answer !== null) {
      const { session, state } = answer
      const { recovering, ...reached } = state
      if (!recovering || (state.paused && wish.pauses && !isStuck(server))) {
        return { session: await asSuperuser(server, session), state: reached }
      }
      if (state.paused) throw stuck(server)
    }
    await sleep(POLL_MS, undefined, { signal: wish.signal }).catch(() => {})
  }
}

type Answer = { session: PostgresSession; state: RecoveredState & { recovering: boolean } }

/** A parameter was raised after the base: since 14 the server stops there and waits for somebody (PostgreSQL xlogrecovery.c). */
function isStuck({ log }: PrivateServer): boolean {
  return readFileSync(log, 'utf8').includes('insufficient parameter settings')
}

function stuck({ log }: PrivateServer): NexusError {
  return new NexusError('failed', 'recovery_stuck', 'the server paused its recovery before the target', {
    hint: `its log says why: ${log}`,
  })
}

/** Null while it does not let us in. @throws NexusError `role_unknown`, `sessions_refused` when it refuses all of us for good */
async function firstAnswer(sessions: readonly PostgresSession[]): Promise<Answer | null> {
  const refusals: NexusError[] = []
  for (const session of sessions) {
    try {
      const state = (await queryJson(session, stateQuery)) as Answer['state']
      // Nothing replayed yet.
      if (state.lsn === null) return null
      return { session, state }
    } catch (error) {
      if (!(error instanceof NexusError)) throw error
      if (notYet.has(error.code)) return null
      refusals.push(error)
    }
  }
  const isRole = refusals.every(({ code }) => code === 'authentication_failed' || code === 'database_missing')
  const others = refusals.filter(({ code }) => isRole || code !== 'authentication_failed')
  const why = [...new Set(others.map(({ message }) => message))].join('; ')
  throw new NexusError(
    'failed',
    isRole ? 'role_unknown' : 'sessions_refused',
    `the restored server lets nobody in: ${why}`,
    { hint: `name one of its roles${isRole ? '' : ' or databases'} in the connection of the source: user=NAME` },
  )
}

/**
 * Settings of a role or a database must not keep us out; only a superuser may override some of them, and whoever is let in
 * first may be none.
 */
function sessionsFor(
  server: PrivateServer,
  {
    users,
    databases = [],
    env,
    signal,
  }: {
    users: readonly string[]
    databases?: readonly string[]
    env: Record<string, string | undefined>
    signal: AbortSignal
  },
): PostgresSession[] {
  const { programs, account } = server
  return [true, false].flatMap(superuser => {
    const PGOPTIONS = sessionOptions(programs.major, { superuser, readOnly: false, ours: true })
    return [...new Set(users)].flatMap(user =>
      [...new Set([...usualDatabases, ...databases])].map(database => {
        const connection = connectionTo(server, database, user)
        return { programs, connection, account, env: { ...plainEnvironment(env), PGOPTIONS }, signal }
      }),
    )
  })
}

/**
 * The role that initdb made has the number 10 (PostgreSQL pg_authid.dat): it may do everything, so checks see everything.
 * Where it may not log in, another superuser will do; where there is none, whoever was let in.
 */
async function asSuperuser(server: PrivateServer, session: PostgresSession): Promise<PostgresSession> {
  const sql = `SELECT coalesce((SELECT json_build_object('user', rolname, 'database', current_database()) FROM pg_roles
    WHERE rolsuper AND rolcanlogin ORDER BY oid <> 10, oid LIMIT 1), 'null')`
  const found = (await queryJson(session, sql)) as { user: string; database: string } | null
  if (found === null) return session
  const PGOPTIONS = sessionOptions(server.programs.major, { superuser: true, readOnly: false, ours: true })
  const connection = connectionTo(server, found.database, found.user)
  return { ...session, connection, env: { ...session.env, PGOPTIONS } }
}
