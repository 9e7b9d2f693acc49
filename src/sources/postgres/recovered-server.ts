import { readFileSync } from 'node:fs'
import { messageOf, NexusError } from '../../errors.js'
import type { Programs } from './programs.js'
import type { PostgresSession } from './psql.js'
import { awaitRecovery, type RecoveredState } from './recovery.js'
import type { ClusterCheck } from './restored-checks.js'
import type { Account } from './run-as.js'
import { type PrivateServer, startServer } from './server.js'
import { raisable, sharedLibraries } from './server-settings.js'

/** A server whose recovery is over. */
export interface RecoveredServer {
  server: PrivateServer
  session: PostgresSession
  state: RecoveredState
  /** What it does without, because it would not run with it here. */
  notes: ClusterCheck[]
}

/** How a copy is run. */
export interface RecoveryWish {
  directory: string
  /** Parameters of the server that was backed up. */
  captured: Readonly<Record<string, string>>
  walSegmentBytes: number | null
  pauses: boolean
  recoveryAction?: 'promote' | 'pause' | undefined
  users: readonly string[]
  databases: readonly string[]
  /** The server's environment, and that of sessions. */
  env: { server: Record<string, string | undefined>; sessions: Record<string, string | undefined> }
  signal: AbortSignal
}

/** A server of ours needs no more than this of the machine. */
const SMALL = { max_connections: '20', max_worker_processes: '8', max_wal_senders: '0' }
const noMemory =
  /could not (?:map anonymous|create|attach to) shared memory|could not create semaphores|shared memory size overflows|Cannot allocate/
const lowerSetting = /\b(\w+) = (\d+) is a lower setting than on the (?:primary|master) server[^\d]*(\d+)/g

/**
 * Starts a server on a copy and waits until its recovery is over. Where the machine or the configuration that the cluster
 * had keeps it from that, it is started again: without libraries that it does not run with here, with parameters as large as
 * they were raised to since the base, with less memory.
 *
 * @throws NexusError as `awaitRecovery` does, with what was tried; the log of the last attempt stays
 */
export async function recoverServer(
  programs: Programs,
  account: Account | null,
  wish: RecoveryWish,
): Promise<RecoveredServer> {
  const { directory, pauses, recoveryAction, users, databases, env, signal } = wish
  let captured = wish.captured
  const notes: ClusterCheck[] = []
  for (;;) {
    const segment = wish.walSegmentBytes === null ? {} : { walSegmentBytes: wish.walSegmentBytes }
    const purpose = { directory, captured, pauses, recoveryAction, ...segment }
    const server = await startServer(programs, account, purpose, env.server)
    try {
      const reached = await awaitRecovery(server, { users, databases, pauses, env: env.sessions, signal })
      return { server, ...reached, notes }
    } catch (error) {
      await server.stop('immediate')
      if (signal.aborted) server.forget()
      signal.throwIfAborted()
      const remedy = remedyFor(error, { log: readFileSync(server.log, 'utf8'), captured, pauses })
      if (remedy === null) throw withNotes(error, notes)
      server.forget()
      captured = remedy.captured
      notes.push(...remedy.notes)
    }
  }
}

interface Remedy {
  captured: Readonly<Record<string, string>>
  notes: ClusterCheck[]
}

/** What to do otherwise the next time; null when nothing is left. Each takes something away or raises something, so it ends. */
function remedyFor(
  error: unknown,
  { log, captured, pauses }: { log: string; captured: Remedy['captured']; pauses: boolean },
): Remedy | null {
  if (!(error instanceof NexusError) || (error.code !== 'server_died' && error.code !== 'recovery_stuck')) return null
  const raised = raisedIn(log, captured)
  if (raised !== null) return { captured: { ...captured, ...raised }, notes: [] }
  if (error.code !== 'server_died') return null
  if (noMemory.test(log) && !pauses && Number(captured.max_connections ?? 0) > Number(SMALL.max_connections)) {
    return { captured: { ...captured, ...SMALL }, notes: [] }
  }
  const libraries = sharedLibraries(captured.shared_preload_libraries ?? '')
  if (libraries.length === 0) return null
  const name = 'shared_preload_libraries'
  const detail = `the server does not run with ${libraries.join(', ')} here and was started without: ${messageOf(error)}`
  return { captured: { ...captured, [name]: '' }, notes: [{ name, status: 'skipped', detail }] }
}

/** Parameters that the WAL says were raised since the base (PostgreSQL xlogrecovery.c, RecoveryRequiresIntParameter). */
function raisedIn(log: string, captured: Remedy['captured']): Record<string, string> | null {
  const raised: Record<string, string> = {}
  for (const [, name = '', given, needed = ''] of log.matchAll(lowerSetting)) {
    const isOurs = raisable.some(one => one === name)
    if (isOurs && Number(needed) > Number(captured[name] ?? given)) raised[name] = needed
  }
  return Object.keys(raised).length === 0 ? null : raised
}

function withNotes(error: unknown, notes: readonly ClusterCheck[]): unknown {
  if (!(error instanceof NexusError) || notes.length === 0) return error
  const message = `${error.message}; before that, ${notes.map(({ detail }) => detail).join('; ')}`
  const hint = error.hint === undefined ? {} : { hint: error.hint }
  return new NexusError(error.kind, error.code, message, { cause: error, ...hint })
}

/** The larger of what is known of each parameter: of the control file, and of the server when it was backed up. */
export function largestOf(
  control: Readonly<Record<string, string>>,
  asked: Readonly<Record<string, string>>,
): Record<string, string> {
  const both: Record<string, string> = { ...control, ...asked }
  for (const name of raisable) {
    const values = [control[name], asked[name]].filter(value => value !== undefined).map(Number)
    if (values.length > 0 && values.every(Number.isFinite)) both[name] = String(Math.max(...values))
  }
  return both
}
