import { once } from 'node:events'
import { closeSync, fstatSync, lstatSync } from 'node:fs'
import { Readable } from 'node:stream'
import type { TreeEntry } from '../../image/tree/types.js'
import type { Attributes } from '../../system/attributes.js'
import { shown } from '../../system/file-names.js'
import type { DatabaseCopy, TreeDatabases } from './databases.js'
import { type Found, type FoundStats, fileIdentityOf, foundStats, isBounded } from './found.js'
import { directoryAttributes, fileAttributes } from './found-attributes.js'
import { type OpenFile, openFound, throughShort } from './open-file.js'
import { CHUNK_BYTES, readInPieces, readWhole } from './read-file.js'
import type { Remarks } from './remarks.js'
import type { TarArchive } from './tar-format.js'

export interface ArchiveSettings {
  remarks: Remarks
  signal: AbortSignal
  /** Makes the entry of something found: `stats` and `attributes` are those of the open file where it is one. */
  entryOf(found: Found, stats: FoundStats, attributes: Attributes | undefined): TreeEntry
  /** Told of each entry before its header is in the stream. */
  onEntry(entry: TreeEntry): void
  /** Databases among the files, if they are looked for. */
  databases?: TreeDatabases
}

/**
 * A tar archive of what a walk found, in its order, one entry at a time. A file's size is what it has when it is opened;
 * whatever happens to it afterwards, the archive is whole. A file that cannot be opened is a problem and left out. A
 * further name of a file refers to the name under which that very file was archived; where none was, or the name means
 * another file by now, it is archived as a file of its own.
 */
export async function* archive(found: Iterable<Found>, settings: ArchiveSettings): AsyncGenerator<Uint8Array> {
  const { TarArchive } = await import('./tar-format.js')
  const tar = new TarArchive()
  const { signal } = settings
  const stop = () => end(tar, asError(signal.reason))
  signal.addEventListener('abort', stop)
  const writing = new ArchiveWriter(tar, settings).writeAll(found).catch((error: unknown) => end(tar, asError(error)))
  try {
    yield* tar as AsyncIterable<Uint8Array>
  } finally {
    signal.removeEventListener('abort', stop)
    end(tar)
    await writing
  }
}

/** An entry still in archiver's queue would be appended to a stream that is gone: so the queue first. */
function end(tar: TarArchive, error?: Error): void {
  tar.abort()
  tar.destroy(error)
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

/** A read that is still under way must not find its descriptor's number given to another file. */
async function ended(source: Buffer | Readable): Promise<void> {
  if (!(source instanceof Readable) || source.destroy().closed) return
  await once(source, 'close')
}

class ArchiveWriter {
  readonly #tar: TarArchive
  readonly #settings: ArchiveSettings
  /** First names, of files that have several, which this archive was to hold. Others are in the backup unread. */
  readonly #tried = new Set<string>()
  /** By what it is: the name under which each file that has several was archived. */
  readonly #archived = new Map<string, string>()
  #settle: { resolve(): void; reject(error: Error): void } | null = null
  #closed = false

  constructor(tar: TarArchive, settings: ArchiveSettings) {
    this.#tar = tar
    this.#settings = settings
    tar.on('entry', () => this.#settle?.resolve())
    tar.on('error', error => this.#settle?.reject(error))
    tar.on('close', () => {
      this.#closed = true
      this.#settle?.reject(new Error('the archive was closed before its end'))
    })
  }

  async writeAll(found: Iterable<Found>): Promise<void> {
    for (const entry of found) {
      this.#settings.signal.throwIfAborted()
      if (this.#closed) return
      if (entry.type === 'file') await this.#file(entry)
      else if (entry.type === 'hardlink') await this.#hardLink(entry)
      else await this.#withoutContent(entry, this.#attributesOf(entry))
    }
    // Its end is told by the stream itself.
    this.#tar.finalize().catch(() => {})
  }

  #attributesOf({ type, location }: Found): Attributes | undefined {
    return type === 'directory' ? directoryAttributes(location, this.#settings.remarks) : undefined
  }

  async #file(found: Found): Promise<void> {
    const { remarks, databases } = this.#settings
    if (databases?.isCaptured(found.location) === true) return
    if (found.nlink > 1) this.#tried.add(found.path)
    const opened = this.#open(found)
    if (opened === null) return
    const where = { ...opened.stats, location: found.location }
    if (databases?.recognize(opened.fd, where) !== true) return await this.#content(found, opened)
    const attributes = fileAttributes(opened.fd, found.location, remarks)
    closeSync(opened.fd)
    const copy = await databases.copyOf(where)
    if (copy !== null) return await this.#database(found, opened.stats, { copy, attributes })
    const again = this.#open(found)
    if (again !== null) await this.#content(found, again)
  }

  /** Null for a file that is left out, which is told. */
  #open(found: Found): OpenFile | null {
    const opened = openFound(found)
    if (typeof opened !== 'string') return opened
    this.#settings.remarks.leftOut(found.location, opened)
    return null
  }

  async #content(found: Found, { fd, stats }: OpenFile): Promise<void> {
    const { remarks, entryOf } = this.#settings
    const reading = { fd, stats, location: found.location, remarks }
    try {
      const entry = entryOf(found, stats, fileAttributes(fd, found.location, remarks))
      const small = entry.size <= CHUNK_BYTES
      const source = small ? readWhole(reading) : Readable.from(readInPieces(reading), { objectMode: false })
      await this.#append(source, entry, stats.mtime).finally(() => ended(source))
    } finally {
      closeSync(fd)
    }
    this.#remember(found, stats)
  }

  /** A database, as it was at one instant: its file alone, whole without what SQLite keeps beside it. */
  async #database(
    found: Found,
    stats: FoundStats,
    { copy, attributes }: { copy: DatabaseCopy; attributes: Attributes | undefined },
  ): Promise<void> {
    const { remarks, entryOf } = this.#settings
    try {
      const plain = entryOf(found, stats, attributes)
      // Its times tell nothing of what stands in its log.
      const entry = { ...plain, size: copy.size, sparse: false, facts: { ...plain.facts, settled: false } }
      const reading = {
        fd: copy.fd,
        stats: foundStats(fstatSync(copy.fd, { bigint: true })),
        location: copy.path,
        remarks,
      }
      const source = Readable.from(readInPieces(reading), { objectMode: false })
      await this.#append(source, entry, stats.mtime).finally(() => ended(source))
    } finally {
      closeSync(copy.fd)
      copy.release()
    }
    this.#remember(found, stats)
  }

  #remember(found: Found, stats: FoundStats): void {
    if (Math.max(found.nlink, stats.nlink) > 1) this.#archived.set(fileIdentityOf(stats), found.path)
  }

  async #hardLink(found: Found): Promise<void> {
    const path = this.#tried.has(found.link) ? this.#archived.get(fileIdentityOf(found)) : found.link
    const other = path === undefined ? {} : otherFileAt(found)
    if (path === undefined || other !== null) await this.#file({ ...found, ...other, type: 'file', link: '' })
    else await this.#withoutContent({ ...found, link: path }, undefined)
  }

  async #withoutContent(found: Found, attributes: Attributes | undefined): Promise<void> {
    await this.#append(Buffer.alloc(0), this.#settings.entryOf(found, found, attributes), found.mtime)
  }

  async #append(source: Buffer | Readable, entry: TreeEntry, mtime: bigint): Promise<void> {
    if (isBounded(mtime)) this.#settings.remarks.problem(`${shown(`/${entry.path}`)} has a time that cannot be kept`)
    this.#settings.onEntry(entry)
    await new Promise<void>((resolve, reject) => {
      this.#settle = { resolve, reject }
      if (this.#closed) reject(new Error('the archive was closed before its end'))
      else this.#tar.add(source, entry, mtime)
    }).finally(() => {
      this.#settle = null
    })
  }
}

/** The file that has a name now, where it is another one than was found; null where it is the same, or none. */
function otherFileAt(found: Found): FoundStats | null {
  const stats = throughShort(found.location, path => lstatSync(path, { bigint: true, throwIfNoEntry: false }))
  if (stats === undefined || !stats.isFile()) return null
  const now = foundStats(stats)
  return fileIdentityOf(now) === fileIdentityOf(found) ? null : now
}
