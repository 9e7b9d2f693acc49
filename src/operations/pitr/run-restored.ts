import type { PostgresSourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { withoutBucketSecrets } from '../../secret-variables.js'
import { connectionParameter } from '../../sources/postgres/connection.js'
import { readControlData } from '../../sources/postgres/control-data.js'
import { findPrograms, type Programs } from '../../sources/postgres/programs.js'
import type { PostgresSession } from '../../sources/postgres/psql.js'
import { largestOf, recoverServer } from '../../sources/postgres/recovered-server.js'
import type { RecoveredState } from '../../sources/postgres/recovery.js'
import { type ClusterCheck, contentChecks } from '../../sources/postgres/restored-checks.js'
import type { Account } from '../../sources/postgres/run-as.js'
import type { PrivateServer } from '../../sources/postgres/server.js'
import { type BaseFacts, majorOf } from './base-facts.js'

/** A restored copy to be run. */
export interface RestoredCopy {
  directory: string
  facts: BaseFacts
  account: Account | null
  source: PostgresSourceSettings | null
  /** It stands still at its target. */
  pauses: boolean
  /** Whether it does so only to be looked at: its own settings shut it down there. */
  shutsDown?: boolean
  /** Its restore_command reaches a bucket: the server needs what opens it. */
  fetchesFromBucket: boolean
}

/** A copy whose recovery is over. */
export interface RunningCopy {
  server: PrivateServer
  session: PostgresSession
  state: RecoveredState
  /** When it was ready, in the time of performance.now(). */
  readyAt: number
  /** Results of the content checks. */
  checks: ClusterCheck[]
}

/** The programs that run a server of this version. @throws NexusError `programs_missing` naming the package */
export function serverPrograms(
  context: Context,
  facts: BaseFacts,
  source: PostgresSourceSettings | null,
): Promise<Programs> {
  return findPrograms(
    { binDirectory: source?.binDirectory ?? null, path: context.env.PATH },
    { major: majorOf(facts), exact: true, programs: ['postgres', 'psql', 'pg_controldata'] },
  )
}

/**
 * Starts a server on a restored copy, waits until its recovery is over and runs the content checks. When anything goes
 * wrong, and after a signal, the server is stopped.
 *
 * @param programs as `serverPrograms` finds them
 * @throws NexusError `server_died` with the server's own reason; its log then stays
 */
export async function runRestored(context: Context, programs: Programs, copy: RestoredCopy): Promise<RunningCopy> {
  const { directory, facts, account, source, pauses, shutsDown } = copy
  const { env, signal } = context
  const forServer = copy.fetchesFromBucket ? env : withoutBucketSecrets(env)
  const control = await readControlData(programs, directory)
  const connection = source?.connection ?? ''
  const configured = connectionParameter(connection, 'user') ?? env.PGUSER
  const users = [account?.name ?? context.operator.user, 'postgres', ...(configured === undefined ? [] : [configured])]
  const database = databaseOf(connection) ?? env.PGDATABASE ?? null
  context.progress({ phase: `${source?.name ?? 'cluster'}: recovering`, done: 0, total: undefined })
  const { server, session, state, notes } = await recoverServer(programs, account, {
    directory,
    captured: largestOf(control.settings, facts.settings),
    walSegmentBytes: control.walSegmentBytes,
    pauses,
    recoveryAction: shutsDown === true ? 'pause' : undefined,
    users,
    databases: database === null ? [] : [database],
    env: { server: forServer, sessions: env },
    signal,
  })
  for (const { detail } of notes) context.warn(`${source?.name ?? 'cluster'}: ${detail}`)
  try {
    const readyAt = performance.now()
    const user = connectionParameter(session.connection, 'user') ?? 'postgres'
    const checks = await contentChecks(server, session, { queries: source?.checks ?? [], database, user })
    return { server, session, state, readyAt, checks: [...notes, ...checks] }
  } catch (error) {
    await server.stop('immediate')
    if (signal.aborted) server.forget()
    throw error
  }
}

/** The database that a connection names, in either form of a connection string. */
function databaseOf(connection: string): string | undefined {
  const named = connectionParameter(connection, 'dbname')
  const path = /^postgres(?:ql)?:\/\/[^/?]*\/([^?]+)/.exec(connection)?.[1]
  return named ?? (path === undefined ? undefined : decodeURIComponent(path))
}
