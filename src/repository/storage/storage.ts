import type { Lock, LockMode, LockName, LockOptions } from './locks.js'

/**
 * Where a repository's bytes lie. Names are relative, `/`-separated, and never contain `..`.
 * A local directory and an object store implement it and pass the same suite (test/repository/storage/conformance.ts):
 * there is no rename of single files, no append to something committed, and no lock in it that outlives its holder.
 */
export interface Storage {
  /** How messages name it: the directory's path, or the bucket's URL. */
  readonly location: string
  /** False where nothing can be written (read-only mount, permissions): restore and verify still work. */
  readonly writable: boolean

  /** The direct children of a directory ('' is the root); empty when it does not exist. */
  list(directory: string): Promise<StorageEntry[]>
  /** Names of all files below a directory, however deep, as paths from it; absent where that takes no fewer requests. */
  listBelow?(directory: string): Promise<string[]>
  /** The whole of a small file. Throws `not-found` when absent, damage `file_too_large` when larger than `limit` bytes. */
  readSmall(name: string, limit: number): Promise<Buffer>
  /**
   * A reader for a file of any size. Throws `not-found` when absent.
   * @param atOnce bytes that will be wanted from its beginning, where the caller knows: they cost a store one request
   */
  openRead(name: string, atOnce?: number): Promise<SequentialReader>
  /** Bytes of a file. Throws `not-found` when absent. */
  sizeOf(name: string): Promise<number>
  /**
   * Stamps of regular files below a directory, by names relative to it; undefined for each that is none. A file whose stamp
   * is as it was holds what it held. Absent where a look costs as much as reading.
   */
  stampsOf?(directory: string, names: readonly string[]): Promise<(FileStamp | undefined)[]>
  /** Writes a small file durably, once: an existing name is an error. */
  writeOnce(name: string, bytes: Uint8Array): Promise<void>
  /** Makes a file that is there, and the names on the way to it, durable: whoever wrote it may have been killed before. */
  persist(name: string): Promise<void>
  /**
   * Removes files in this order, durably, and returns the bytes freed; an absent one is no error. For WAL, whose files
   * each stand for themselves.
   */
  removeFiles(names: readonly string[]): Promise<number>
  /**
   * Removes a small file that `writeOnce` made, durably; an absent one is no error. Only for records of
   * work in progress such as prune's plan: nothing that belongs to a backup is ever removed alone.
   */
  removeFile(name: string): Promise<void>
  /** Writes a small file durably in place of the one that may be there. For `source.json` at `--adopt` and plans, never for backups. */
  replace(name: string, bytes: Uint8Array): Promise<void>
  /**
   * Starts a directory whose files appear together, at `commit`, or never.
   * @param expected bytes that its largest file can have, as far as is known
   */
  begin(directory: string, expected?: number): Promise<PendingDirectory>
  /**
   * Sees that a file of so many bytes can be stored; absent where a disk alone is the limit.
   * @throws NexusError refused `object_too_large`
   */
  assertFits?(expected: number): void
  /** Takes a committed directory out of sight in one step, then frees it; repeatable after a crash. */
  remove(directory: string): Promise<number>
  /**
   * Frees what killed runs left under `parent`. The caller holds the writer lock, or names an instant `before` which
   * what is left must have been changed last. Returns their names.
   */
  removeLeftovers(parent: string, before?: Date): Promise<string[]>
  /**
   * Makes sure that whatever lies below these directories can be read: a store may keep it in an archive.
   * @throws NexusError failed `thaw_requested`: it was asked for, and takes hours
   */
  thaw(directories: readonly string[]): Promise<void>
  /** Until when what is written now is locked; undefined where the store locks nothing (object lock). */
  lockEnd(): Date | undefined
  /**
   * Extends the locks of backups on which a new one depends, where they end before what is written now, or before a date
   * that is later. Returns how many were extended.
   */
  extendLocks(directories: readonly string[], date?: Date): Promise<number>
  /** The same of single files that `writeOnce` made, oldest first: WAL. Absent ones are passed over. */
  extendFileLocks(names: readonly string[]): Promise<number>
  /**
   * The same of files that many backups need, each of which is looked at: they outlast every backup that is written now.
   * Absent ones are passed over.
   */
  extendCommonLocks(names: readonly string[], needs: Needs): Promise<number>
  /** Until when nobody can remove these backups; undefined for each that is not locked. */
  lockedUntil(directories: readonly string[]): Promise<(Date | undefined)[]>
  /** The same of single files, oldest first; of all but the newest it may be a date before the true one. */
  filesLockedUntil(names: readonly string[]): Promise<(Date | undefined)[]>
  /** Bytes free for us, or undefined where the store does not say. */
  freeBytes(): Promise<number | undefined>
  /**
   * Takes a lock of a source. On a read-only repository a shared one is a token with `unlocked: true`: the caller warns.
   * @throws NexusError locked when it stays held, not-found for a shared lock of a source that is not there,
   *   interrupted when the signal ends the waiting
   */
  lock(source: string, name: LockName, mode: LockMode, options: LockOptions): Promise<Lock>
  /**
   * Tells how the repository says that its writers exclude each other; absent where a store knows one way alone. Reading
   * goes on whatever it says; what writes throws when the configuration says otherwise.
   */
  followLocking?(recorded: string | undefined): void
  /** How messages name a file in here. */
  displayed(name: string): string
  /** Where a file lies on this machine; undefined on an object store. */
  localPath(name: string): string | undefined
}

/** Which backups need the files that all of them share. */
export interface Needs {
  /** Until when the one that is kept longest is kept, where it is kept until a date. */
  date: Date | undefined
  /** Until when the one whose lock is longest is locked; asked where a file has no lock at all, for it may be the first time. */
  longest(): Promise<Date | undefined>
}

/** The ground of a repository that may not exist yet. */
export interface NewRoot {
  readonly storage: Storage
  /** Throws `refused` when the repository that is there belongs to somebody else than was asked for. */
  assertOwned(): Promise<void>
  /**
   * Makes the root ours: permissions, owner. Returns the storage to write it with.
   * @param mayLieThere tells which names may lie in it before it is a repository
   */
  take(mayLieThere: (name: string) => boolean): Promise<Storage>
}

/** Which file it is, its bytes, and when its content and its inode changed last, in milliseconds since 1970. */
export type FileStamp = readonly [device: number, inode: number, bytes: number, mtime: number, ctime: number]

export interface StorageEntry {
  name: string
  /** `other`: a symbolic link, pipe or device, which a repository never contains. */
  kind: 'file' | 'directory' | 'other'
}

/** Reads a file from its beginning to its end, or here and there. */
export interface SequentialReader {
  /** Total bytes. */
  readonly size: number
  /** The next `length` bytes, in a buffer of their own; fewer only at the end of the file. */
  read(length: number): Promise<Buffer>
  /** The bytes from a position on, wherever `read` has come to, in a buffer of their own; fewer only at the end. */
  readAt(position: number, length: number): Promise<Buffer>
  close(): Promise<void>
}

/** A file being written into a pending directory. */
export interface PartWriter {
  /** Appends; the bytes are written and hashed in call order, and when it has resolved they are the caller's again. */
  write(bytes: Uint8Array): Promise<void>
  /** Makes it durable. */
  close(): Promise<WrittenPart>
}

export interface WrittenPart {
  name: string
  bytes: number
  sha256: string
}

/** A directory under construction, invisible until committed. */
export interface PendingDirectory {
  create(name: string): Promise<PartWriter>
  /** A directory on local disk for scratch files of this run, removed with it, or undefined on an object store. */
  readonly localPath: string | undefined
  /**
   * Makes everything visible under the final name, durably, in one step.
   * @param atLast asked when all else is done and the locks are still ours: its error stops the commit
   */
  commit(atLast?: () => Promise<void>): Promise<void>
  /** Removes everything written so far. Safe to call after commit (does nothing). */
  discard(): Promise<void>
}
