import type { Packed } from './pack.js'
import type { WalFileHeader } from './wal-file.js'

/** The log of one system (cluster) in one source's room: a file for each one of pg_wal, written once. */
export interface WalArchive {
  readonly systemIdentifier: string
  /**
   * Stores a file. When this returns, the file and the directories above it are durable.
   * @param plain the file's bytes; they must not change meanwhile
   * @param how when the server had finished the file, the time now, and who packs it: this thread when left out
   * @returns `identical` when the very same content is there already
   * @throws NexusError refused `wal_differs` when there is another content under this name, which stays as it is; damage
   *   when what is there cannot be read; refused `wal_identity_unknown` when it is sealed and nothing here can tell whether it
   *   is the same; usage for a name that is none
   */
  put(
    name: string,
    plain: Uint8Array,
    how: { closedAt: Date; now: Date; pack?: (plain: Uint8Array) => Promise<Packed> },
  ): Promise<'stored' | 'identical'>
  /** The header of a stored file. @throws NexusError not-found `wal_not_archived`, damage */
  header(name: string): Promise<WalFileHeader>
  /** The same of a file that is ours. @throws NexusError as `header`, and damage `wal_untrusted` */
  headerOfOurs(name: string): Promise<WalFileHeader>
  /**
   * A stored file, every digest compared.
   * @param room memory for the plain bytes, used where it has their very size: a new one costs as much as reading
   * @throws NexusError not-found `wal_not_archived`, damage, of which `wal_untrusted` is what nobody of ours has archived
   */
  read(name: string, room?: Buffer): Promise<{ header: WalFileHeader; plain: Buffer }>
  /** A file as it is stored, compared with the digest in its head. @throws NexusError not-found `wal_not_archived`, damage */
  storedFile(name: string): Promise<Buffer>
  /**
   * Stores a file that comes from another repository, as it is stored there; durable when this returns.
   * @returns `identical` when the very same bytes are there already
   * @throws NexusError refused `wal_differs`, damage when the bytes are not those of such a file
   */
  putStoredFile(name: string, bytes: Buffer): Promise<'stored' | 'identical'>
  /** Compares what is stored of a file with its header; needs no key. @throws NexusError not-found `wal_not_archived`, damage */
  check(name: string): Promise<void>
  /** Timelines that have a directory, ascending. */
  timelines(): Promise<number[]>
  /** Names of the files stored, of one timeline or of all, sorted. Nothing is read: `read` tells whether they are sound. */
  names(timeline?: number): Promise<string[]>
  /** Bytes that a stored file takes. @throws NexusError not-found `wal_not_archived` */
  storedBytes(name: string): Promise<number>
  /** Extends the locks of files, oldest first, where the store has locks and they end too early. Returns how many were. */
  extendLocks(names: readonly string[]): Promise<number>
  /** Until when nobody can remove these files, oldest first; those that are not locked are left out. See Storage. */
  lockedUntil(names: readonly string[]): Promise<Map<string, Date>>
  /** Whether a file is stored in plain; asks for nothing but its size. */
  isPlain(name: string): Promise<boolean>
  /** Removes files in this order, durably; what is absent is no error. Returns bytes freed. For prune. */
  remove(names: readonly string[]): Promise<number>
  /** Removes what killed runs left unfinished an hour and longer ago in the directory of a file's timeline. */
  removeLeftovers(name: string, now: Date): Promise<void>
  /** Where a stored file lies on this machine; undefined on an object store. */
  localPath(name: string): string | undefined
}
