import type { Context } from '../context.js'
import type { Lock, LockMode, LockName, LockOptions } from '../repository/storage/locks.js'
import type { SourceRoom } from '../repository/types.js'
import { writerHost } from './writer-host.js'

/** How this run takes locks: who it is, how long it waits, and that it says so. */
export function lockOptions(context: Context, purpose: string): LockOptions {
  return {
    waitSeconds: context.lockWaitSeconds,
    purpose,
    host: context.host,
    user: context.operator.user,
    signal: context.signal,
    onWait: message => context.warn(message),
    writer: writerHost(context),
  }
}

/** Why some of the locks could not be taken, each reason once. */
function reasons(locks: readonly Lock[]): Set<string> {
  const unlocked = locks.filter(lock => lock.unlocked)
  return new Set(unlocked.map(({ fault }) => (fault ? `cannot be locked: ${fault.message}` : 'is read-only')))
}

/**
 * Runs `work` under locks taken in the order given, and releases them in any case. Who only reads goes on where a lock cannot
 * be used, with a warning; who writes, and so wants an exclusive lock too, does not.
 * @param work may take another one, which is held as long as the others
 * @throws NexusError as `SourceRoom.lock` does
 */
export async function withLocks<T>(
  room: SourceRoom,
  wanted: readonly (readonly [LockName, LockMode])[],
  options: LockOptions,
  work: (take: (name: LockName, mode: LockMode) => Promise<void>) => Promise<T>,
): Promise<T> {
  const held: Lock[] = []
  try {
    const isWriter = wanted.some(([, mode]) => mode === 'exclusive')
    const take = async (name: LockName, mode: LockMode) => {
      const lock = await room.lock(name, mode, options)
      held.push(lock)
      if (isWriter && lock.fault !== undefined) throw lock.fault
    }
    for (const [name, mode] of wanted) await take(name, mode)
    for (const why of reasons(held)) {
      const { location } = room.repository
      options.onWait(`${location} ${why}: working without a lock, so do not prune it meanwhile`)
    }
    return await work(take)
  } finally {
    // Nobody waits for one of them and not for the other; a bucket takes them back together.
    await Promise.all(held.map(lock => lock.release()))
  }
}
