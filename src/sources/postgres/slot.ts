import { execa } from 'execa'
import { withParameter } from './connection.js'
import { explainFailure } from './explain.js'
import { bareOutput, type PostgresSession, sessionCommand } from './psql.js'

/** Keeps firewalls and idle_session_timeout from ending a connection that has nothing to do. */
const HEARTBEAT_MS = 20_000

/** WAL that the server keeps for us. */
export interface HeldWal {
  /** Lets it go; returns when the connection is closed. Twice is as good as once. */
  release(): Promise<void>
}

/**
 * Makes the server keep all WAL from its last checkpoint on until it is released, by a temporary physical slot. Without
 * it `pg_basebackup -X fetch` of a busy cluster fails at its very end: "requested WAL segment has already been removed"
 * (design section 4, reproduced). The slot belongs to the connection of a psql whose input we hold: it ends with us,
 * whatever kills us, and the server drops the slot.
 *
 * @param name of the slot: lower-case letters, digits and underscores
 * @throws NexusError when it cannot be made (role_lacks_replication, wal_senders_exhausted, slots_exhausted …)
 */
export async function holdWal(session: PostgresSession, name: string): Promise<HeldWal> {
  // A physical replication connection, as pg_basebackup's own: one line of pg_hba.conf serves both.
  const replication = { ...session, connection: withParameter(session.connection, 'replication', 'true') }
  const { file, args, options } = sessionCommand(replication, 'psql', [...bareOutput])
  const child = execa(file, args, {
    ...options,
    stdin: 'pipe',
    reject: false,
    cancelSignal: session.signal,
    forceKillAfterDelay: 5_000,
  })
  // It may end before it has read everything: the exit code tells, not the broken pipe.
  child.stdin.on('error', () => {})
  child.stdin.write(`CREATE_REPLICATION_SLOT ${name} TEMPORARY PHYSICAL RESERVE_WAL;\n`)
  const ended = child.then(result => result)
  const answered = new Promise<'answered'>(resolve => child.stdout.once('data', () => resolve('answered')))
  const first = await Promise.race([answered, ended])
  if (first !== 'answered') {
    session.signal.throwIfAborted()
    throw explainFailure(first.stderr, { what: 'asking the server to keep its WAL', account: session.account })
  }
  const heartbeat = setInterval(() => child.stdin.write('IDENTIFY_SYSTEM;\n'), HEARTBEAT_MS)
  heartbeat.unref()
  return {
    async release() {
      clearInterval(heartbeat)
      child.stdin.end()
      const patience = setTimeout(() => child.kill(), 5_000)
      await ended
      clearTimeout(patience)
    },
  }
}
