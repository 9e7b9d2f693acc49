import { existsSync } from 'node:fs'
import { NexusError } from '../../errors.js'
import { noSecrets } from '../../secret-variables.js'
import { namedFiles, socketPaths } from './connection.js'
import { probeVersion } from './probe.js'
import { findPrograms } from './programs.js'
import type { PostgresSession } from './psql.js'
import { type Account, commandAs, ownerAccount } from './run-as.js'

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

/** A way to ask a cluster's server. */
export interface ClusterSession extends PostgresSession {
  /** As root, whose a local server is; null for a distant one, and when we are not root. */
  serverUser: Account | null
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
): Promise<ClusterSession> {
  const serverUser = await serverUserFor(connection, dataDirectory, env)
  const search = { binDirectory, path: env.PATH }
  const newest = await findPrograms(search, { major: null, exact: false, programs: ['psql'] })
  const asking = { programs: newest, connection, serverUser, env, signal }
  const { version, account } = await firstAnswer(asking, await clients(asking))
  const major = Math.floor(version / 10_000)
  const fitting = await findPrograms(search, { major, exact: false, programs })
  return { programs: fitting, connection, account, serverUser, env, signal }
}

type Asking = Omit<ClusterSession, 'account'>

/**
 * As whom a server is asked, in turn. As root a local one is asked by its own user, whom it knows by peer authentication.
 * Secrets that root keeps are closed to that user, and are handed to nobody: root asks with them itself, first where
 * connection or environment name a file that only root can read.
 */
async function clients({ connection, serverUser, env }: Asking): Promise<(Account | null)[]> {
  if (serverUser === null) return [null]
  for (const path of namedFiles(connection, env)) {
    if (existsSync(path) && !(await mayRead(serverUser, path))) return [null, serverUser]
  }
  return [serverUser, null]
}

/** What is told only to the right one: another user may have the password, the key or the service file. */
const forAnother = new Set(['authentication_failed', 'service_missing', 'client_file_unusable'])

/** @throws NexusError what the first one was told, when nobody gets an answer */
async function firstAnswer(
  asking: Asking,
  accounts: readonly (Account | null)[],
): Promise<{ version: number; account: Account | null }> {
  let refused: unknown
  for (const account of accounts) {
    try {
      return { version: await probeVersion({ ...asking, account }), account }
    } catch (error) {
      if (!(error instanceof NexusError) || !forAnother.has(error.code)) throw refused ?? error
      refused ??= error
    }
  }
  throw refused
}

async function mayRead(account: Account, path: string): Promise<boolean> {
  const { execa } = await import('execa')
  const { file, args, options } = commandAs(account, 'test', ['-r', path], noSecrets)
  const { exitCode } = await execa(file, args, { ...options, reject: false, stdin: 'ignore', timeout: 30_000 })
  return exitCode === 0
}

/**
 * As root, whose the server is: the owner of its data directory, or of its socket while that is not known. Null for one
 * that is reached over the network, and when we are not root.
 */
async function serverUserFor(
  connection: string,
  dataDirectory: string | null,
  env: Record<string, string | undefined>,
): Promise<Account | null> {
  if (dataDirectory !== null && existsSync(dataDirectory)) return ownerAccount(dataDirectory)
  const socket = socketPaths(connection, env).find(path => existsSync(path))
  return socket === undefined ? null : ownerAccount(socket)
}
