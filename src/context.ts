import type { KeyAccess } from './repository/keys/key-access.js'

/** Who runs the command: recorded in every manifest and every journal entry. */
export interface Operator {
  user: string
  /** Set when the command came through sudo (`SUDO_USER`). */
  sudo_user: string | null
}

/** A step of a long piece of work, for the progress line. Bytes unless `unit` says otherwise. */
export interface ProgressEvent {
  /** What is being done, on what: `itsm: reading`. */
  phase: string
  done: number
  /** Undefined where the end is not known. */
  total: number | undefined
  unit?: 'bytes' | 'items'
}

/**
 * What the operations may know of the world. Nothing below `cli/` reads the clock, the environment
 * or the process's arguments by itself: they come from here, so tests can set them.
 */
export interface Context {
  now(): Date
  host: string
  operator: Operator
  /** Aborted by SIGINT, SIGTERM and SIGHUP; long work stops and cleans up. */
  signal: AbortSignal
  /** One line for stderr: something the operator should know although the work goes on. */
  warn(message: string): void
  progress(event: ProgressEvent): void
  /**
   * The journal could not be written. The work goes on, for a backup is worth more than its record, but the
   * run must not end as if nothing were amiss: the command line reports it and exits 3 when nothing worse befell.
   */
  journalFailed(error: unknown): void
  /** The program's version, for manifests. */
  toolVersion: string
  /** Directory of catalog, journal and digest caches (design section 7, `state`). */
  stateDirectory: string
  /** IANA zone of retention's calendar and of times given without one. */
  timezone: string
  /** The environment that child programs get: libpq's variables, PATH, locale. */
  env: Readonly<Record<string, string | undefined>>
  /** Opens what is sealed in encrypted repositories, with the means that flags, environment and configuration name. */
  keys: KeyAccess
  /** Seconds to wait for a lock held by another run. */
  lockWaitSeconds: number
  /** Whether this host takes the place of the one that writes into a repository of a single writer. */
  takeOver?: boolean
}
