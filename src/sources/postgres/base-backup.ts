import type { Readable } from 'node:stream'
import { execa } from 'execa'
import { assertWhole, type Lacks, lacksOf, SERVER_WARNS } from './data-links.js'
import { explainFailure } from './explain.js'
import { KeptLines } from './kept-lines.js'
import { type PostgresSession, sessionCommand } from './psql.js'

/** How a base backup went. */
export interface BaseBackupEnd {
  /** Pages whose checksum is wrong, as the server named them; empty when all are right or there are no checksums. */
  checksumFailures: string[]
  /** The server's other warnings. */
  warnings: string[]
}

/** A running `pg_basebackup`. */
export interface BaseBackup {
  /** The archive; must be read, or the program waits. Null when it writes into a directory. */
  stdout: Readable | null
  /**
   * When the program has ended; its archive is whole also with checksum failures.
   * @throws NexusError naming the cause, or the signal's reason; `data_left_out`
   */
  ended: Promise<BaseBackupEnd>
  /** Ends it now, and returns when it is gone. */
  stop(): Promise<void>
}

/** Of the server's warnings so many are passed on. */
const MAX_WARNINGS = 20
const checksumWarning = /checksum verification fail/

/**
 * Starts `pg_basebackup` in tar format with the WAL that it needs to become consistent and its manifest.
 *
 * @param into descriptor of an empty directory for a cluster with tablespaces, which cannot stream; null for stdout
 * @param followed links of the data directory that come with the backup otherwise
 */
export function startBaseBackup(
  session: PostgresSession,
  into: { fd: number; path: string } | null,
  followed: ReadonlySet<string> = new Set(),
): BaseBackup {
  const { file, args, options } = sessionCommand(session, 'pg_basebackup', [
    ...['-F', 't', '-X', 'fetch', '-c', 'fast', '-l', 'nexus-backup'],
    ...(into === null ? ['-D', '-', '--no-estimate-size'] : ['-D', directoryName(into), '--no-sync', '-P']),
  ])
  const child = execa(file, args, {
    ...options,
    // The directory's descriptor becomes the child's number 3. execa takes any, its types only know 3 to 9.
    stdio: into === null ? ['ignore', 'pipe', 'pipe'] : ['ignore', 'ignore', 'pipe', into.fd as 3],
    buffer: false,
    reject: false,
    encoding: 'buffer',
    cancelSignal: session.signal,
    forceKillAfterDelay: 5_000,
  })
  // Unless it is paused by somebody, execa lets a stream that nobody reads yet run dry (execa contents.js, resumeStream).
  child.stdout?.pause()
  const said = new KeptLines()
  child.stderr?.on('data', (chunk: Buffer) => {
    said.push(chunk.toString('utf8'))
    // What is known to lack data need not be copied to its end.
    if (warningsIn(said.lines(), followed).lost.length > 0) child.kill()
  })
  const ended = child.then(({ exitCode, shortMessage }) => {
    session.signal.throwIfAborted()
    const lines = into === null ? said.lines() : renamed(said.lines(), into)
    return endOf(exitCode, lines, { otherwise: shortMessage ?? '', session, followed })
  })
  ended.catch(() => {})
  return {
    stdout: into === null ? child.stdout : null,
    ended,
    async stop() {
      child.kill()
      child.stdout?.destroy()
      await child
    },
  }
}

/**
 * As seen by a program that runs as another user: `/proc` leads to the directory itself whatever is closed above it.
 * Progress (`-P`) is asked for because a program that writes to a broken stderr ends when we are killed.
 */
function directoryName({ path }: { path: string }): string {
  return process.platform === 'linux' ? '/proc/self/fd/3' : path
}

/** For people a directory has the name that they can find it by. */
function renamed(lines: string[], into: { path: string }): string[] {
  return lines.map(line => line.replaceAll(directoryName(into), into.path))
}

function warningsIn(lines: readonly string[], followed: ReadonlySet<string>): Lacks {
  return lacksOf(
    lines.filter(line => line.startsWith('WARNING:') && !checksumWarning.test(line)),
    followed,
  )
}

function endOf(
  exitCode: number | undefined,
  lines: string[],
  { otherwise, session, followed }: { otherwise: string; session: PostgresSession; followed: ReadonlySet<string> },
): BaseBackupEnd {
  const failures = lines.filter(line => checksumWarning.test(line))
  const { lost, said: others } = warningsIn(lines, followed)
  assertWhole(lost)
  const shown = others.map(line => `${SERVER_WARNS}${line.slice('WARNING:'.length).trim()}`).slice(0, MAX_WARNINGS)
  if (exitCode === 0) return { checksumFailures: [], warnings: shown }
  // pg_basebackup's own words, in English by LC_ALL; by then everything was sent (PostgreSQL pg_basebackup.c, reproduced).
  if (lines.some(line => line.includes('checksum error occurred'))) {
    return { checksumFailures: failures.length > 0 ? failures : lines, warnings: shown }
  }
  const stderr = lines.length > 0 ? lines.join('\n') : otherwise
  throw explainFailure(stderr, { what: 'pg_basebackup', account: session.account })
}
