import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from '../../errors.js'
import { freeBytesOf } from './faults.js'
import { type Ground, groundOf, isWritable } from './ground.js'
import { lockLocal } from './local-lock.js'
import { beginLocal } from './local-pending.js'
import { openLocalReader, readLocalSmall } from './local-read.js'
import { removeLocal, removeLocalFile, removeLocalFiles, removeLocalLeftovers } from './local-remove.js'
import { localStamps } from './local-stamps.js'
import { persistLocal, replaceLocal, writeLocalOnce } from './local-write.js'
import type { Lock, LockMode, LockName, LockOptions } from './locks.js'
import { at } from './reach.js'
import type { FileStamp, PendingDirectory, SequentialReader, Storage, StorageEntry } from './storage.js'

/**
 * A repository in a directory. Everything new is 0600 or 0700, belongs to whom the root directory belongs
 * (when we are root), and is durable before a call returns. Symbolic links inside are never followed.
 */
export class LocalStorage implements Storage {
  readonly location: string
  readonly writable: boolean
  readonly #ground: Ground

  private constructor(ground: Ground, writable: boolean) {
    this.location = ground.location
    this.writable = writable
    this.#ground = ground
  }

  /** Opens an existing directory. Throws the system's error (`ENOENT` …) when it cannot be looked at. */
  static async open(location: string): Promise<LocalStorage> {
    const ground = await groundOf(location)
    return new LocalStorage(ground, await isWritable(ground.root))
  }

  /** Where it really lies. */
  get root(): string {
    return this.#ground.root
  }

  list(directory: string): Promise<StorageEntry[]> {
    return at(this.#ground, 'listing', directory, async reach => {
      try {
        const entries = await readdir(await reach.directory(directory), { withFileTypes: true })
        return entries.map(entry => ({
          name: entry.name,
          kind: entry.isFile() ? 'file' : entry.isDirectory() ? 'directory' : 'other',
        }))
      } catch (error) {
        if (errnoOf(error) === 'ENOENT') return []
        throw error
      }
    })
  }

  readSmall(name: string, limit: number): Promise<Buffer> {
    return readLocalSmall(this.#ground, name, limit)
  }

  openRead(name: string): Promise<SequentialReader> {
    return openLocalReader(this.#ground, name)
  }

  async sizeOf(name: string): Promise<number> {
    const reader = await this.openRead(name)
    await reader.close()
    return reader.size
  }

  async stampsOf(directory: string, names: readonly string[]): Promise<(FileStamp | undefined)[]> {
    return names.length === 0 ? [] : localStamps(this.#ground, directory, names)
  }

  writeOnce(name: string, bytes: Uint8Array): Promise<void> {
    return writeLocalOnce(this.#ground, name, bytes)
  }

  persist(name: string): Promise<void> {
    return persistLocal(this.#ground, name)
  }

  replace(name: string, bytes: Uint8Array): Promise<void> {
    return replaceLocal(this.#ground, name, bytes)
  }

  removeFile(name: string): Promise<void> {
    return removeLocalFile(this.#ground, name)
  }

  begin(directory: string): Promise<PendingDirectory> {
    return beginLocal(this.#ground, directory)
  }

  remove(directory: string): Promise<number> {
    return removeLocal(this.#ground, directory)
  }

  removeFiles(names: readonly string[]): Promise<number> {
    return removeLocalFiles(this.#ground, names)
  }

  removeLeftovers(parent: string, before?: Date): Promise<string[]> {
    return removeLocalLeftovers(this.#ground, parent, before)
  }

  /** A disk keeps nothing in an archive. */
  async thaw(): Promise<void> {}

  /** A directory locks nothing: see nexus-backup-repository(5) for append-only ones. */
  lockEnd(): undefined {
    return undefined
  }

  async extendLocks(): Promise<number> {
    return 0
  }

  async extendFileLocks(): Promise<number> {
    return 0
  }

  async extendCommonLocks(): Promise<number> {
    return 0
  }

  async lockedUntil(directories: readonly string[]): Promise<undefined[]> {
    return directories.map(() => undefined)
  }

  async filesLockedUntil(names: readonly string[]): Promise<undefined[]> {
    return names.map(() => undefined)
  }

  freeBytes(): Promise<number | undefined> {
    return freeBytesOf(this.#ground.root)
  }

  lock(source: string, name: LockName, mode: LockMode, options: LockOptions): Promise<Lock> {
    return lockLocal(this.#ground, this.writable, { source, name, mode }, options)
  }

  displayed(name: string): string {
    return join(this.location, name)
  }

  localPath(name: string): string {
    return join(this.location, name)
  }
}
