import { existsSync } from 'node:fs'
import { socketPaths } from './connection.js'
import { probeVersion } from './probe.js'
import { findPrograms } from './programs.js'
import type { PostgresSession } from './psql.js'
import { type Account, ownerAccount } from './run-as.js'

/** How the configuration says a cluster is reached. */
export interface ClusterSettings {
  /** The source's, for messages. */
  name: string
  /** libpq connection string; empty: what libpq finds in its environment. */
  connection: string
  /** Null: the server is asked. */
  dataDirectory: string | null
  /** Null: programs are looked for by the server's version. */
  binDirectory: string | null
}

/**
 * Finds as whom and with which programs a cluster is asked and copied: those of the server's own version, or newer ones.
 *
 * @param programs that will be needed
 * @throws NexusError `programs_missing`, `server_too_old`, `server_unreachable`, `authentication_failed` …
 */
export async function openSession(
  { connection, dataDirectory, binDirectory }: ClusterSettings,
  programs: readonly string[],
  { env, signal }: { env: Record<string, string | undefined>; signal: AbortSignal },
): Promise<PostgresSession> {
  const account = await accountFor(connection, dataDirectory, env)
  const search = { binDirectory, path: env.PATH }
  const newest = await findPrograms(search, { major: null, exact: false, programs: ['psql'] })
  const version = await probeVersion({ programs: newest, connection, account, env, signal })
  const major = Math.floor(version / 10_000)
  const fitting = await findPrograms(search, { major, exact: false, programs })
  return { programs: fitting, connection, account, env, signal }
}

/**
 * As root a local server is asked by the owner of its data directory, or of its socket while that is not known. One that is
 * reached over the network is asked by root itself, with root's password file: nothing is written then.
 */
async function accountFor(
  connection: string,
  dataDirectory: string | null,
  env: Record<string, string | undefined>,
): Promise<Account | null> {
  if (dataDirectory !== null && existsSync(dataDirectory)) return ownerAccount(dataDirectory)
  const socket = socketPaths(connection, env).find(path => existsSync(path))
  return socket === undefined ? null : ownerAccount(socket)
}
