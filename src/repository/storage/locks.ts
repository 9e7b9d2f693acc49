import type { NexusError } from '../../errors.js'

/** `writer`: create and prune, exclusive. `delete`: prune exclusive; create, restore, verify shared (design section 5). */
export type LockName = 'writer' | 'delete'
export type LockMode = 'exclusive' | 'shared'

export interface LockOptions {
  /** Seconds to wait for the present holder; 0 fails at once. */
  waitSeconds: number
  /** Written beside the lock for whoever waits: `create itsm`. */
  purpose: string
  host: string
  user: string
  signal: AbortSignal
  /** Called once when we begin to wait, with a sentence that names the holder. */
  onWait(message: string): void
  /** This machine, for a store on which one host alone may write. */
  writer: WriterHost
}

/** The machine that a writer runs on. */
export interface WriterHost {
  /**
   * Tells it from all others, the same in every run with one state directory.
   * @throws NexusError failed `state_unusable`
   */
  id(): Promise<string>
  /** Whether it takes the place of the host that writes there now. */
  takeOver: boolean
  /** A lock of this machine that the kernel drops with the process. */
  openLock(name: string): Promise<{ tryTake(mode: LockMode): boolean; close(): void }>
}

/** A lock that ends with its holder: the kernel drops a local one, a lease on an object store runs out. */
export interface Lock {
  /** True where nothing could be locked: the caller warns and goes on. */
  readonly unlocked: boolean
  /** Why not; absent on a repository that is read-only. Whoever writes must not go on. */
  readonly fault?: NexusError
  release(): Promise<void>
}
