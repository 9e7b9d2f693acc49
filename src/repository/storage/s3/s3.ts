import { NexusError } from '../../../errors.js'
import { isCommon } from '../../common-files.js'
import { manifestFile, partialPrefix } from '../../layout.js'
import { mapParallel } from '../../parallel.js'
import { unknownSource } from '../lock-wait.js'
import type { Lock, LockMode, LockName, LockOptions } from '../locks.js'
import type { Needs, PendingDirectory, SequentialReader, Storage, StorageEntry } from '../storage.js'
import { Bucket } from './bucket.js'
import { extendCommonLocks, extendFileLocks, extendLocks, fileLocks, lockedUntil } from './extend-locks.js'
import { isDenied } from './faults.js'
import { Leases, type LeaseTiming, leaseTiming } from './leases.js'
import { holdsAnything, listBelow, listLevel } from './listing.js'
import { agreedLocking } from './locking.js'
import { isMarkers, markedIds } from './markers.js'
import { assertConditionalWrites, getSmall, put, putOnce, removeObjects, sizeOfObject } from './objects.js'
import { partLayout } from './part-sizes.js'
import { alreadyThere } from './part-writer.js'
import { beginS3 } from './pending.js'
import { openS3Reader } from './reader.js'
import { removeBackup, removeS3Files, removeS3Leftovers } from './remove.js'
import { newLockEnd } from './retention.js'
import { type RetryTiming, retryTiming } from './retries.js'
import type { S3Settings } from './settings.js'
import { takeAsOnlyWriter } from './single-writer.js'
import { walStorageClassOf } from './storage-class.js'
import { thaw } from './thaw.js'
import { orYoung } from './young.js'

/** For tests, which cannot wait as long. */
export interface S3Timing {
  leases: LeaseTiming
  retries: RetryTiming
}

/** Of leases that cannot be read or continued. */
const unusable: ReadonlySet<string> = new Set([
  ...['lease_damaged', 'lease_newer', 'lease_contended', 'lease_numbers_spent', 'server_clock_missing'],
])

/** A repository below a prefix of a bucket (design section 5, nexus-backup-repository(5)). */
export class S3Storage implements Storage {
  readonly location: string
  readonly #bucket: Bucket
  readonly #timing: LeaseTiming
  readonly #leases = new Map<string, Leases>()
  readonly #signals: Set<AbortSignal>
  #writable = true
  #otherwise: NexusError | undefined

  private constructor(bucket: Bucket, timing: LeaseTiming, signals: Set<AbortSignal>) {
    this.#bucket = bucket
    this.location = bucket.location
    this.#timing = timing
    this.#signals = signals
  }

  /** Asks the server nothing yet. @throws NexusError configuration */
  static async open(settings: S3Settings, timing: Partial<S3Timing> = {}): Promise<S3Storage> {
    const { leases = leaseTiming, retries = retryTiming } = timing
    const signals = new Set<AbortSignal>()
    const isStopping = () => [...signals].some(({ aborted }) => aborted)
    return new S3Storage(await Bucket.open(settings, retries, isStopping), leases, signals)
  }

  /**
   * Makes sure, before a repository is made here, that the store can hold one.
   * @throws NexusError failed `conditional_write_missing`
   */
  async assertCanHold(): Promise<void> {
    if (this.#bucket.locking === 'conditional') await assertConditionalWrites(this.#bucket)
  }

  followLocking(recorded: string | undefined): void {
    const { locking, problem } = agreedLocking(this.location, recorded, this.#bucket.settings.locking)
    this.#bucket.locking = locking
    this.#otherwise = problem
  }

  /** Before anything is written: those who exclude each other in different ways do not exclude each other at all. */
  #assertLocking(): void {
    if (this.#otherwise !== undefined) throw this.#otherwise
  }

  /** True until the server refused to let us write; false where the configuration contradicts the locking. */
  get writable(): boolean {
    return this.#writable && this.#otherwise === undefined
  }

  /** Backups with a marker and without their manifest are shown as a directory shows them: `.partial-ID`. */
  async list(directory: string): Promise<StorageEntry[]> {
    const { files, directories, answers } = await listLevel(this.#bucket, directory)
    // After the backups themselves: one that is committed meanwhile is found whole. A backup may have been begun between
    // two answers: the first then lacks its marker.
    const mayBeMarked = directories.some(isMarkers) || (answers > 1 && directory !== '' && directories.length > 0)
    const marked = mayBeMarked ? await this.#uncommitted(directory, new Set(directories)) : new Set()
    const shown = directories.filter(name => !isMarkers(name) && !marked.has(name))
    return [
      ...files.map(({ name }) => ({ name, kind: 'file' as const })),
      ...[...shown, ...[...marked].map(id => `${partialPrefix}${id}`)].map(name => ({
        name,
        kind: 'directory' as const,
      })),
    ]
  }

  async listBelow(directory: string): Promise<string[]> {
    return (await listBelow(this.#bucket, directory)).map(({ name }) => name)
  }

  async #uncommitted(parent: string, present: ReadonlySet<string>): Promise<Set<string>> {
    const ids = await markedIds(this.#bucket, parent)
    const isUncommitted = await mapParallel(
      ids,
      16,
      async id => !present.has(id) || !(await this.#hasManifest(`${parent}/${id}`)),
    )
    return new Set(ids.filter((_, n) => isUncommitted[n]))
  }

  async #hasManifest(directory: string): Promise<boolean> {
    const { files } = await listLevel(this.#bucket, directory)
    return files.some(({ name }) => name === manifestFile)
  }

  readSmall(name: string, limit: number): Promise<Buffer> {
    return getSmall(this.#bucket, name, limit)
  }

  openRead(name: string, atOnce?: number): Promise<SequentialReader> {
    return openS3Reader(this.#bucket, name, atOnce)
  }

  sizeOf(name: string): Promise<number> {
    return sizeOfObject(this.#bucket, name)
  }

  async writeOnce(name: string, bytes: Uint8Array): Promise<void> {
    this.#assertLocking()
    const isWal = name.includes('/wal/')
    const kept = isWal
      ? { storageClass: walStorageClassOf(this.#bucket.settings), locked: true }
      : { locked: isCommon(name) }
    if (!(await putOnce(this.#bucket, name, bytes, kept))) throw alreadyThere(this.#bucket, name)
  }

  /** What can be seen in a bucket is durable. */
  async persist(): Promise<void> {}

  async replace(name: string, bytes: Uint8Array): Promise<void> {
    this.#assertLocking()
    return put(this.#bucket, name, bytes, { locked: isCommon(name) })
  }

  removeFile(name: string): Promise<void> {
    return removeObjects(this.#bucket, [name])
  }

  removeFiles(names: readonly string[]): Promise<number> {
    const [first] = names
    if (first === undefined) return Promise.resolve(0)
    return removeS3Files(this.#bucket, names, this.#leasesOf(first))
  }

  async begin(directory: string, expected = 0): Promise<PendingDirectory> {
    this.#assertLocking()
    const layout = partLayout(expected, this.#bucket.settings)
    return beginS3(this.#bucket, directory, this.#leasesOf(directory), layout)
  }

  assertFits(expected: number): void {
    partLayout(expected, this.#bucket.settings)
  }

  async remove(directory: string): Promise<number> {
    return removeBackup(this.#bucket, directory, this.#leasesOf(directory))
  }

  /** Objects are whole or not there: only backups leave something behind, below their source. */
  async removeLeftovers(parent: string, before?: Date): Promise<string[]> {
    if (parent === '' || before !== undefined) return []
    return removeS3Leftovers(this.#bucket, parent, this.#leasesOf(parent))
  }

  thaw(directories: readonly string[]): Promise<void> {
    return thaw(this.#bucket, directories)
  }

  lockEnd(): Date | undefined {
    return newLockEnd(this.#bucket)
  }

  extendLocks(directories: readonly string[], date?: Date): Promise<number> {
    return extendLocks(this.#bucket, directories, { probe: manifestFile, date })
  }

  extendFileLocks(names: readonly string[]): Promise<number> {
    return extendFileLocks(this.#bucket, names)
  }

  extendCommonLocks(names: readonly string[], needs: Needs): Promise<number> {
    return extendCommonLocks(this.#bucket, names, needs)
  }

  async lockedUntil(directories: readonly string[]): Promise<(Date | undefined)[]> {
    const manifests = directories.map(directory => `${directory}/${manifestFile}`)
    const locks = this.#bucket.settings.objectLock === undefined ? [] : manifests
    const locked = await mapParallel(locks, 16, name => lockedUntil(this.#bucket, name))
    return this.#orYoung(manifests, locked)
  }

  async filesLockedUntil(names: readonly string[]): Promise<(Date | undefined)[]> {
    return this.#orYoung(names, await fileLocks(this.#bucket, names))
  }

  #orYoung(names: readonly string[], locked: readonly (Date | undefined)[]): Promise<(Date | undefined)[]> {
    return orYoung(this.#bucket, names, locked, 2 * this.#timing.lease)
  }

  async freeBytes(): Promise<undefined> {
    return undefined
  }

  async lock(source: string, name: LockName, mode: LockMode, options: LockOptions): Promise<Lock> {
    // Whoever works here takes a lock first: its signal is that of the run.
    this.#signals.add(options.signal)
    const leases = this.#leasesOf(source)
    if (mode === 'exclusive') {
      this.#assertLocking()
      if (this.#bucket.locking === 'single-writer')
        return takeAsOnlyWriter(this.#bucket, leases, { source, name }, options)
      return leases.take(name, mode, options)
    }
    if (this.#otherwise?.code === 'locking_unknown') {
      return { unlocked: true, fault: this.#otherwise, release: async () => {} }
    }
    if (this.#otherwise !== undefined) options.onWait(`${this.#otherwise.message}: it is only read`)
    // Who writes the first backup of a source already holds another lock of it.
    if (!leases.isHeld && !(await holdsAnything(this.#bucket, source))) throw unknownSource(source, this.location)
    try {
      return await leases.take(name, mode, options)
    } catch (error) {
      const code = error instanceof NexusError ? error.code : undefined
      if (isDenied(error) || code === 'conditional_write_missing') {
        this.#writable = false
        return { unlocked: true, release: async () => {} }
      }
      // Who only reads is never shut out by what somebody has put beside the backups.
      if (!(error instanceof NexusError) || !unusable.has(error.code)) throw error
      return { unlocked: true, fault: error, release: async () => {} }
    }
  }

  displayed(name: string): string {
    return this.#bucket.displayed(name)
  }

  localPath(): undefined {
    return undefined
  }

  #leasesOf(name: string): Leases {
    const source = name.split('/')[0] ?? name
    const known = this.#leases.get(source) ?? new Leases(this.#bucket, source, this.#timing)
    this.#leases.set(source, known)
    return known
  }
}
