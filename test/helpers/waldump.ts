import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { NexusError } from '../../src/errors.js'
import type { Programs } from '../../src/sources/postgres/programs.js'

/** A record as pg_waldump describes it. */
export interface WalRecord {
  /** Where it begins, as PostgreSQL writes positions: `0/2000028`. */
  lsn: string
  /** Of the transaction; 0 for none. */
  xid: number
  /** `COMMIT 2025-11-03 05:31:00.123456 UTC`, `RESTORE_POINT before_4.2`, … */
  description: string
}

export interface WalDumpRequest {
  programs: Programs
  /** Holds the segments. */
  directory: string
  /** Names of the first and the last segment, of one timeline. */
  from: string
  to: string
  /** Only records of this resource manager (`Transaction`, `XLOG`). */
  rmgr?: string
  env: Record<string, string | undefined>
  signal: AbortSignal
}

const line =
  /^rmgr: \S+\s+len \(rec\/tot\):\s*\d+\/\s*\d+, tx:\s*(\d+), lsn: ([0-9A-F]+\/[0-9A-F]+), prev \S+, desc: (.*)$/

/**
 * The records of some segments, in order. A record that goes on in a segment that is not there is left out, as recovery
 * could not replay it either. The segments' bytes must have been checked before: pg_waldump ends with an error wherever
 * the log ends, which is no fault.
 *
 * @throws NexusError `waldump_failed` when not a single record could be read
 */
export async function* walRecords(request: WalDumpRequest): AsyncGenerator<WalRecord, void, void> {
  const { programs, directory, from, to, rmgr, env, signal } = request
  const { execa } = await import('execa')
  const wanted = rmgr === undefined ? [] : [`--rmgr=${rmgr}`]
  const child = execa(join(programs.directory, 'pg_waldump'), ['-p', directory, ...wanted, from, to], {
    // Times are printed in the zone of the process (PostgreSQL timestamptz_to_str in the frontend).
    env: { PATH: env.PATH ?? '', LC_ALL: 'C', TZ: 'UTC' },
    extendEnv: false,
    stdio: ['ignore', 'pipe', 'pipe'],
    buffer: { stdout: false, stderr: true },
    reject: false,
    cancelSignal: signal,
  })
  let found = 0
  try {
    for await (const text of createInterface({ input: child.stdout, crlfDelay: Number.POSITIVE_INFINITY })) {
      const [, xid, lsn, description] = line.exec(text) ?? []
      if (xid === undefined || lsn === undefined || description === undefined) continue
      found += 1
      yield { lsn, xid: Number(xid), description }
    }
  } finally {
    child.kill()
  }
  const { stderr, exitCode, shortMessage } = await child
  signal.throwIfAborted()
  const said = typeof stderr === 'string' ? stderr.trim() : ''
  // The end of the log is told as an error about a record, or about the segment after it.
  if (found > 0 || exitCode === 0 || /error in WAL record|could not find (?:a valid record|file)/.test(said)) return
  throw new NexusError('failed', 'waldump_failed', `pg_waldump cannot read ${from} to ${to}: ${said || shortMessage}`, {
    hint: `are the segments of PostgreSQL ${programs.major}? see: nexus-backup verify`,
  })
}

/** The instant at which a transaction ended, milliseconds since 1970 UTC; null for any other record. */
export function endOfTransaction({ description }: WalRecord): number | null {
  const [, day, time, fraction = '0'] =
    /^(?:COMMIT|ABORT|COMMIT_PREPARED|ABORT_PREPARED)\b.*?(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d+))? UTC/.exec(
      description,
    ) ?? []
  if (day === undefined || time === undefined) return null
  return Date.parse(`${day}T${time}Z`) + Number(`0.${fraction}`) * 1000
}

/** The transaction that a record ends, as `recovery_target_xid` names it: of a prepared one its own number; null for any other record. */
export function endedTransaction(record: WalRecord): number | null {
  if (endOfTransaction(record) === null) return null
  const prepared = /^(?:COMMIT|ABORT)_PREPARED (\d+):/.exec(record.description)?.[1]
  return prepared === undefined ? record.xid : Number(prepared)
}
