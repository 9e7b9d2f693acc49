import type { LockOptions } from '../../src/repository/storage/locks.js'

/** A request for a lock that does not wait, of `create itsm` on db1. */
export function lockRequest(change: Partial<LockOptions> = {}): LockOptions {
  return {
    waitSeconds: 0,
    purpose: 'create itsm',
    host: 'db1',
    user: 'root',
    signal: new AbortController().signal,
    onWait: () => undefined,
    ...change,
  }
}
