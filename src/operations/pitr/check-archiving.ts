import { setTimeout as pause } from 'node:timers/promises'
import type { PostgresSourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { recorded } from '../../journal/recorded.js'
import type { Journal } from '../../journal/types.js'
import { isBucket } from '../../repository/storage/s3/settings.js'
import { type ArchivingState, archivingProblem, readArchiving } from '../../sources/postgres/archiving.js'

import { type ClusterSession, openSession } from '../../sources/postgres/session.js'
import { switchWal } from '../../sources/postgres/switch-wal.js'
import { readWalSpace, spaceWarning, type WalSpace } from '../../sources/postgres/wal-space.js'
import { failureOf } from '../failure.js'
import type { RecoveryCalls } from '../requests.js'
import type { Concern, Failure } from '../results.js'
import { walReader } from '../sealing/wal-seal-for.js'
import { type CopyLag, copyLags, lagConcerns } from '../wal/copy-lag.js'
import { roomOf } from '../wal/find-source.js'
import { restoreCommandOf } from '../wal/restore-command.js'
import { tryRestoreCommand } from '../wal/try-restore-command.js'

export interface PitrCheckRequest {
  sources: PostgresSourceSettings[]
  /** How long to wait for the segment, in milliseconds. */
  timeoutMs: number
  /** How the server's restore_command calls this program. */
  recovery: RecoveryCalls
  /** Ask the server and change nothing. */
  dryRun: boolean
}

/** What was seen of one cluster. */
export interface CheckedArchiving extends Pick<ArchivingState, 'standby' | 'waiting'> {
  source: string
  last_archived: ArchivingState['lastArchived']
  last_failed: ArchivingState['lastFailed']
  /** The segment that was ended, archived and fetched; null where none was. */
  segment: string | null
  /** Until it was stored; null where none was. */
  stored_ms: number | null
  /** How long pg_wal lasts; null of a standby and of a server on another machine. */
  pg_wal: WalSpace | null
  /** How far each copy is behind, of a source with `wal_copies`. */
  copies?: CopyLag[]
}

export interface PitrCheckResult {
  command: 'pitr check'
  checked: CheckedArchiving[]
  failures: Failure[]
}

const POLL_MS = 200

/**
 * Proves for each cluster that WAL reaches its repository and comes back: the current segment is ended, waited for in the
 * archive, and fetched by a restore_command as the server's user. A standby is only asked, its primary does the rest.
 * One cluster's trouble does not stop the others; it is in `failures`.
 */
export async function checkPitr(
  context: Context,
  journal: Journal,
  request: PitrCheckRequest,
): Promise<PitrCheckResult> {
  const checked: CheckedArchiving[] = []
  const failures: Failure[] = []
  for (const source of request.sources) {
    const subject = { operation: 'pitr check', source: source.name, repository: source.repository.path }
    try {
      const { seen, concerns } = await recorded(
        context,
        journal,
        subject,
        () => checkOne(context, source, request),
        ({ concerns: [first] }) => ({ result: first === undefined ? 'done' : 'failed', error: first?.message ?? null }),
      )
      checked.push(seen)
      failures.push(...concerns.map(concern => ({ kind: 'failed' as const, ...concern })))
    } catch (error) {
      if (context.signal.aborted) throw error
      failures.push(failureOf(source.name, error))
    }
  }
  return { command: 'pitr check', checked, failures }
}

async function checkOne(
  context: Context,
  source: PostgresSourceSettings,
  request: PitrCheckRequest,
): Promise<{ seen: CheckedArchiving; concerns: Concern[] }> {
  const session = await openSession(source, ['psql'], context)
  const { seen, concern } = await proveArchiving(context, session, { source, request })
  const space = await readWalSpace(session)
  const warning = space === null ? null : spaceWarning(source.name, space)
  if (warning !== null) context.warn(warning)
  const copies = await copyLags(context, source)
  return {
    seen: { ...seen, pg_wal: space, ...(copies.length === 0 ? {} : { copies }) },
    concerns: [...(concern === null ? [] : [concern]), ...lagConcerns(source.name, copies, context.now())],
  }
}

type Proven = { seen: Omit<CheckedArchiving, 'pg_wal' | 'copies'>; concern: Concern | null }

async function proveArchiving(
  context: Context,
  session: ClusterSession,
  { source, request }: { source: PostgresSourceSettings; request: PitrCheckRequest },
): Promise<Proven> {
  const { name } = source
  const state = await readArchiving(session)
  const seen = { source: name, ...seenOf(state), segment: null, stored_ms: null }
  const found = archivingProblem(name, state)
  // A failure of the past may be mended: what counts is whether the next segment arrives.
  const hopeless = found !== null && (found.code === 'archiving_off' || found.code === 'archiving_unset')
  if (hopeless || state.standby || request.dryRun) return { seen, concern: concernOf(name, found) }
  const room = await roomOf(source)
  const segment = await switchWal(session)
  context.progress({ phase: `${name}: waiting for ${segment} in the archive`, done: 0, total: undefined })
  const archive = room.wal(state.systemIdentifier, walReader(context, room.repository))
  const storedMs = await awaitStored(context, () => archive.names(timelineOf(segment)), segment, request.timeoutMs)
  if (storedMs === null) {
    const now = await readArchiving(session)
    return { seen: { ...seen, ...seenOf(now) }, concern: concernOf(name, missing(source, now, segment, request)) }
  }
  await tryRestoreCommand(context, {
    command: restoreCommandOf(request.recovery, name),
    account: session.serverUser,
    file: segment,
    needed: true,
    archive,
    fromBucket: isBucket(room.repository.location),
  })
  return { seen: { ...seen, ...seenOf(await readArchiving(session)), segment, stored_ms: storedMs }, concern: null }
}

function seenOf({ standby, waiting, lastArchived, lastFailed }: ArchivingState) {
  return { standby, waiting, last_archived: lastArchived, last_failed: lastFailed }
}

function timelineOf(segment: string): number {
  return Number.parseInt(segment.slice(0, 8), 16)
}

/** Milliseconds until a segment was stored; null when it was not in time. */
async function awaitStored(
  { signal }: Context,
  names: () => Promise<string[]>,
  segment: string,
  timeoutMs: number,
): Promise<number | null> {
  const began = performance.now()
  for (;;) {
    if ((await names()).includes(segment)) return Math.round(performance.now() - began)
    if (performance.now() - began > timeoutMs) return null
    await pause(POLL_MS, undefined, { signal })
  }
}

/** The server's own trouble, where it knows of one: else the segment went elsewhere. */
function missing(
  { name, repository }: PostgresSourceSettings,
  state: ArchivingState,
  segment: string,
  { timeoutMs }: PitrCheckRequest,
): Omit<Concern, 'source'> {
  const problem = archivingProblem(name, state)
  if (problem !== null) return problem
  const seconds = Math.round(timeoutMs / 1000)
  const went = state.lastArchived !== null && state.lastArchived.name >= segment
  return {
    code: went ? 'archived_elsewhere' : 'archiving_slow',
    message: went
      ? `${name}: the server has archived ${segment}, and it is not in ${repository.path}`
      : `${name}: ${segment} was not archived within ${seconds} seconds`,
    hint: went
      ? `see that archive_command runs 'nexus-backup pitr archive' for this repository: SHOW archive_command`
      : `wait longer: nexus-backup pitr check ${name} --timeout ${seconds * 10}; the server's log says what the archiver does`,
  }
}

function concernOf(source: string, problem: Omit<Concern, 'source'> | null): Concern | null {
  return problem === null ? null : { source, ...problem }
}
