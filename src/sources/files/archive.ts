import { closeSync, lstatSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import type { TreeEntry } from '../../image/tree/types.js'
import type { Attributes } from '../../system/attributes.js'
import { fsPath } from '../../system/file-names.js'
import { type Found, type FoundStats, fileIdentityOf, foundStats } from './found.js'
import { directoryAttributes, fileAttributes } from './found-attributes.js'
import { openFound } from './open-file.js'
import { CHUNK_BYTES, readInPieces, readWhole } from './read-file.js'
import type { Remarks } from './remarks.js'
import { tarEnd, tarHeader, tarPadding } from './tar-header.js'

/** Entries after which a signal gets its turn. */
const TURN = 64

export interface ArchiveSettings {
  remarks: Remarks
  signal: AbortSignal
  /** Makes the entry of something found: `stats` and `attributes` are those of the open file where it is one. */
  entryOf(found: Found, stats: FoundStats, attributes: Attributes | undefined): TreeEntry
  /** Told of each entry before its header is in the stream. */
  onEntry(entry: TreeEntry): void
}

/**
 * A tar archive of what a walk found, in its order, one entry at a time. A file's size is what it has when it is opened;
 * whatever happens to it afterwards, the archive is whole. A file that cannot be opened is a problem and left out. A
 * further name of a file refers to the name under which that very file was archived; where none was, or the name means
 * another file by now, it is archived as a file of its own.
 */
export async function* archive(
  found: Iterable<Found>,
  settings: ArchiveSettings,
): AsyncGenerator<Uint8Array, void, void> {
  const writer = new ArchiveWriter(settings)
  let entries = 0
  for (const entry of found) {
    entries += 1
    if (entries % TURN === 0) await setImmediate()
    settings.signal.throwIfAborted()
    yield* writer.write(entry)
  }
  yield tarEnd()
}

class ArchiveWriter {
  readonly #settings: ArchiveSettings
  /** First names, of files that have several, which this archive was to hold. Others are in the backup unread. */
  readonly #tried = new Set<string>()
  /** By what it is: the name under which each file that has several was archived. */
  readonly #archived = new Map<string, string>()

  constructor(settings: ArchiveSettings) {
    this.#settings = settings
  }

  async *write(found: Found): AsyncGenerator<Uint8Array, void, void> {
    if (found.type === 'file') yield* this.#file(found)
    else if (found.type === 'hardlink') yield* this.#hardLink(found)
    else {
      const isDirectory = found.type === 'directory'
      yield this.#header(
        found,
        found,
        isDirectory ? directoryAttributes(found.location, this.#settings.remarks) : undefined,
      )
    }
  }

  async *#file(found: Found): AsyncGenerator<Uint8Array, void, void> {
    const { remarks, signal } = this.#settings
    if (found.nlink > 1) this.#tried.add(found.path)
    const opened = openFound(found)
    if (typeof opened === 'string') {
      remarks.leftOut(found.location, opened)
      return
    }
    const { fd, stats } = opened
    const reading = { fd, stats, location: found.location, remarks }
    try {
      const attributes = fileAttributes(fd, found.location, remarks)
      const header = this.#header(found, stats, attributes)
      if (Math.max(found.nlink, stats.nlink) > 1) this.#archived.set(fileIdentityOf(stats), found.path)
      if (stats.size <= CHUNK_BYTES) yield Buffer.concat([header, readWhole(reading), tarPadding(stats.size)])
      else {
        yield header
        for await (const piece of readInPieces(reading)) {
          signal.throwIfAborted()
          yield piece
        }
        yield tarPadding(stats.size)
      }
    } finally {
      closeSync(fd)
    }
  }

  async *#hardLink(found: Found): AsyncGenerator<Uint8Array, void, void> {
    const path = this.#tried.has(found.link) ? this.#archived.get(fileIdentityOf(found)) : found.link
    const other = path === undefined ? {} : otherFileAt(found)
    if (path === undefined || other !== null) yield* this.#file({ ...found, ...other, type: 'file', link: '' })
    else yield this.#header({ ...found, link: path }, found, undefined)
  }

  #header(found: Found, stats: FoundStats, attributes: Attributes | undefined): Buffer {
    const entry = this.#settings.entryOf(found, stats, attributes)
    this.#settings.onEntry(entry)
    return tarHeader(entry, stats.mtime)
  }
}

/** The file that has a name now, where it is another one than was found; null where it is the same, or none. */
function otherFileAt(found: Found): FoundStats | null {
  const stats = lstatSync(fsPath(found.location), { bigint: true, throwIfNoEntry: false })
  if (stats === undefined || !stats.isFile()) return null
  const now = foundStats(stats)
  return fileIdentityOf(now) === fileIdentityOf(found) ? null : now
}
