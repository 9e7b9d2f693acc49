import { join } from 'node:path'
import { NexusError } from '../../errors.js'
import { withoutBucketSecrets } from '../../secret-variables.js'
import { explainFailure } from './explain.js'
import type { Programs } from './programs.js'
import { type Account, type Command, commandAs } from './run-as.js'

/** How a server is reached, and with what. */
export interface PostgresSession {
  programs: Programs
  /** libpq connection string; empty: what libpq finds in its environment. */
  connection: string
  /** As whom the programs run; null for as we are. */
  account: Account | null
  /** libpq's variables are taken from here. */
  env: Record<string, string | undefined>
  signal: AbortSignal
}

/** Answers are small: settings and file names, content checks. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024

/** One of the session's programs, ready for execa, with the connection as `-d` and no password prompt. */
export function sessionCommand(session: PostgresSession, program: string, args: string[]): Command {
  const connection = session.connection === '' ? [] : ['-d', session.connection]
  const path = join(session.programs.directory, program)
  return commandAs(session.account, path, ['-w', ...connection, ...args], clientEnvironment(session.env))
}

/** Options for every psql that reads no start-up file, prints bare values and ends at the first error. */
export const bareOutput: readonly string[] = ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1']

/**
 * Runs one statement that yields a single JSON value, and gives that value.
 *
 * @param sqlstate whether an error's message begins with its code: `XX001: …`
 * @throws NexusError naming the cause and the next step (see explain.ts)
 */
export async function queryJson(session: PostgresSession, sql: string, { sqlstate = false } = {}): Promise<unknown> {
  const { execa } = await import('execa')
  const verbosity = sqlstate ? ['-v', 'VERBOSITY=verbose'] : []
  const { file, args, options } = sessionCommand(session, 'psql', [...bareOutput, ...verbosity, '-c', sql])
  const { stdout, stderr, exitCode, failed, shortMessage } = await execa(file, args, {
    ...options,
    stdin: 'ignore',
    reject: false,
    cancelSignal: session.signal,
    maxBuffer: MAX_ANSWER_BYTES,
  })
  session.signal.throwIfAborted()
  if (failed) {
    const said = stderr.trim() === '' ? (shortMessage ?? `exit code ${exitCode}`) : stderr
    throw explainFailure(said, { what: 'asking the server', account: session.account })
  }
  return parsed(stdout)
}

function parsed(answer: string): unknown {
  try {
    return JSON.parse(answer)
  } catch (error) {
    throw new NexusError(
      'failed',
      'postgres_answer',
      `the server’s answer is not understood: ${answer.slice(0, 200)}`,
      {
        cause: error,
      },
    )
  }
}

/**
 * The environment for libpq's programs: the caller's, English messages, and defaults for what it leaves open. A connection
 * string and a service file win over these variables.
 */
function clientEnvironment(env: Record<string, string | undefined>): Record<string, string | undefined> {
  return {
    ...withoutBucketSecrets(env),
    LC_ALL: 'C',
    PGCLIENTENCODING: 'UTF8',
    PGCONNECT_TIMEOUT: env.PGCONNECT_TIMEOUT ?? '30',
    PGAPPNAME: env.PGAPPNAME ?? 'nexus-backup',
    // libpq's own default is the role's name, and a role made for backups has no database of that name.
    PGDATABASE: env.PGDATABASE ?? 'postgres',
  }
}
