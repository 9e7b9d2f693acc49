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

/** How a base backup is made. */
export interface BaseBackupWishes {
  /** Bytes a second that the server sends at most. */
  maxRate?: number | undefined
  /** `spread`: the checkpoint takes its time, as the server's own do. Default fast. */
  checkpoint?: 'fast' | 'spread' | undefined
}

interface BaseBackupOptions extends BaseBackupWishes {
  /** A directory for a cluster with tablespaces, absent or empty, as the program sees it; null for stdout. */
  directory?: string | null
  /** The cluster's own, for hints. */
  dataDirectory?: string | undefined
  /** Names in the data directory about which nothing need be said: they come with the backup otherwise, or are left out. */
  expected?: ReadonlySet<string>
}

/** What `-v` says. */
const remark = /^pg_basebackup: (?!(?:error|fatal|warning|detail|hint):)/

/** Starts `pg_basebackup` in tar format with the WAL that it needs to become consistent and its manifest. */
export function startBaseBackup(session: PostgresSession, options: BaseBackupOptions = {}): BaseBackup {
  const { directory = null, expected = new Set() } = options
  const {
    file,
    args,
    options: surroundings,
  } = sessionCommand(session, 'pg_basebackup', [
    ...['-F', 't', '-X', 'fetch', '-c', options.checkpoint ?? 'fast', '-l', 'nexus-backup'],
    ...(options.maxRate === undefined ? [] : [`--max-rate=${Math.floor(options.maxRate / 1024)}`]),
    ...(directory === null ? ['-D', '-', '--no-estimate-size'] : ['-D', directory, ...talkative]),
  ])
  const child = execa(file, args, {
    ...surroundings,
    stdio: ['ignore', directory === null ? 'pipe' : 'ignore', 'pipe'],
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
    if (warningsIn(said.lines(), expected).lost.length > 0) child.kill()
  })
  const ended = child.then(({ exitCode, shortMessage }) => {
    session.signal.throwIfAborted()
    const lines = said.lines().filter(line => !remark.test(line))
    return endOf(exitCode, lines, { ...options, otherwise: shortMessage ?? '', session, expected })
  })
  ended.catch(() => {})
  return {
    stdout: directory === null ? child.stdout : null,
    ended,
    async stop() {
      child.kill()
      child.stdout?.destroy()
      await child
    },
  }
}

/**
 * A program that writes to a broken stderr ends when this process was killed, instead of waiting for ever for somebody to
 * open a pipe: `-v` writes when the checkpoint is done, `-P` before each archive. What a failed one leaves is removed here.
 */
const talkative = ['--no-sync', '--no-clean', '-P', '-v']

function warningsIn(lines: readonly string[], expected: ReadonlySet<string>): Lacks {
  return lacksOf(
    lines.filter(line => line.startsWith('WARNING:') && !checksumWarning.test(line)),
    expected,
  )
}

function endOf(
  exitCode: number | undefined,
  lines: string[],
  {
    otherwise,
    session,
    expected,
    dataDirectory,
  }: Pick<BaseBackupOptions, 'dataDirectory'> & {
    otherwise: string
    session: PostgresSession
    expected: ReadonlySet<string>
  },
): BaseBackupEnd {
  const failures = lines.filter(line => checksumWarning.test(line))
  const { lost, said: others } = warningsIn(lines, expected)
  assertWhole(lost)
  const shown = others.map(line => `${SERVER_WARNS}${line.slice('WARNING:'.length).trim()}`).slice(0, MAX_WARNINGS)
  if (exitCode === 0) return { checksumFailures: [], warnings: shown }
  // pg_basebackup's own words, in English by LC_ALL; by then everything was sent (PostgreSQL pg_basebackup.c, reproduced).
  if (lines.some(line => line.includes('checksum error occurred'))) {
    return { checksumFailures: failures.length > 0 ? failures : lines, warnings: shown }
  }
  const stderr = lines.length > 0 ? lines.join('\n') : otherwise
  throw explainFailure(stderr, { what: 'pg_basebackup', account: session.account, directory: dataDirectory })
}
