import { closeSync, constants, mkdirSync, openSync, readSync, rmSync, write as writeCallback } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { messageOf, NexusError } from '../../errors.js'
import { ZEROS } from '../../image/types.js'
import { hasRawBytes, shown } from '../../system/file-names.js'
import { captureSqlite, type SqliteCapture } from '../sqlite/capture.js'
import { hasMagic } from '../sqlite/header.js'
import { heldFiles } from '../sqlite/users.js'
import type { Found } from './found.js'
import { openQuietly } from './open-file.js'
import type { Remarks } from './remarks.js'

const write = promisify(writeCallback)

const SIDECAR = /-(?:wal|journal|shm)$/
const COPY_BYTES = 4 * 1024 * 1024
/** A log may be started over while it is read, so often at most. */
const ATTEMPTS = 5
/** So many databases are named. */
const NAMED = 20

export interface DatabaseRules {
  /** Whether databases are captured as databases; otherwise those in use are only told. */
  capture: boolean
  /** A directory for copies; null where no content is read. */
  staging: string | null
  remarks: Remarks
  signal: AbortSignal
  now(): Date
}

/** A consistent copy of a database, as one file. */
export interface DatabaseCopy {
  path: string
  fd: number
  size: number
  release(): void
}

/** SQLite databases in a tree: which are in use, and a consistent content of each. */
export class TreeDatabases {
  readonly #rules: DatabaseRules
  /** Real paths of files that are named as SQLite names what it keeps beside a database. */
  readonly #sidecars = new Set<string>()
  /** Databases that have any, by real path. */
  readonly #live = new Set<string>()
  /** Databases that were read, by device and inode. */
  readonly #read = new Map<string, string>()
  /** Databases whose content is in the backup without what lies beside them. */
  readonly #captured = new Set<string>()
  #copies = 0

  constructor(rules: DatabaseRules) {
    this.#rules = rules
  }

  /** Told of everything that the walk found. */
  note({ type, location }: Found): void {
    if (type === 'file' && SIDECAR.test(location)) this.#sidecars.add(location)
  }

  /** After the walk: looks which of the files with a sidecar are databases. */
  look(): void {
    for (const sidecar of this.#sidecars) {
      const path = sidecar.replace(SIDECAR, '')
      if (!this.#live.has(path) && isDatabase(path)) this.#live.add(path)
    }
  }

  /** Whether the times of a file do not tell its content, which lies in a log beside it. */
  mustRead(location: string): boolean {
    if (!this.#rules.capture) return false
    return this.#live.has(location) || (SIDECAR.test(location) && this.#live.has(location.replace(SIDECAR, '')))
  }

  /** Whether a file is left out because its database is in the backup with what it holds. */
  isCaptured(location: string): boolean {
    return SIDECAR.test(location) && this.#captured.has(location.replace(SIDECAR, ''))
  }

  /** Looks at a file that is about to be read. Whether it is a database that is to be captured. */
  recognize(fd: number, { location, inode, size }: Pick<Found, 'location' | 'inode' | 'size'>): boolean {
    if (size === 0 || !hasMagic(fd)) return false
    this.#read.set(inode, location)
    return this.#rules.capture
  }

  /**
   * A copy of a database at one instant. The caller has no descriptor of it: closing one would drop SQLite's locks.
   *
   * @returns null when there is none; that is told, and the file is read like any other
   */
  async copyOf(found: Pick<Found, 'location' | 'inode'>): Promise<DatabaseCopy | null> {
    const { remarks, signal } = this.#rules
    try {
      const copy = await this.#copy(found)
      this.#captured.add(found.location)
      return copy
    } catch (error) {
      signal.throwIfAborted()
      const what = `${shown(found.location)} is a SQLite database and was read as a file, for it cannot be captured as one`
      remarks.problem(`${what}: ${messageOf(error)}`)
      return null
    }
  }

  /** Tells, when everything was read, which databases were in use and are in the backup as mere files. */
  tell(): void {
    const { capture, remarks } = this.#rules
    if (capture) return
    const unknown = new Map([...this.#read].filter(([, location]) => !this.#live.has(location)))
    const held =
      unknown.size === 0 ? [] : [...heldFiles(new Set(unknown.keys()))].map(inode => unknown.get(inode) ?? '')
    const names = [...this.#live, ...held].map(shown).sort()
    if (names.length === 0) return
    const more = names.length > NAMED ? ` and ${names.length - NAMED} more` : ''
    remarks.note(
      `SQLite databases in use, whose files need not fit together in this backup: ${names.slice(0, NAMED).join(', ')}${more}; ` +
        'set sqlite: true for this source, or make each a source of kind sqlite',
    )
  }

  async #copy({ location, inode }: Pick<Found, 'location' | 'inode'>): Promise<DatabaseCopy> {
    const { staging, signal, now } = this.#rules
    if (staging === null) throw new Error('there is no place for a copy')
    if (hasRawBytes(location)) throw new Error('its name is not UTF-8')
    for (let attempt = 1; ; attempt += 1) {
      this.#copies += 1
      const directory = join(staging, `database-${this.#copies}`)
      mkdirSync(directory, { mode: 0o700 })
      const release = () => rmSync(directory, { recursive: true, force: true })
      let capture: SqliteCapture | undefined
      try {
        capture = await captureSqlite(location, { uid: process.geteuid?.() ?? 0, staging: directory, signal, now })
        const { facts, image } = capture
        if (`${facts.device}:${facts.inode}` !== inode) throw new Error('it was replaced meanwhile')
        const path = join(directory, 'image')
        await writeImage(capture, path, signal)
        await capture.confirm()
        const fd = openSync(path, 'r')
        return { path, fd, size: image.size, release }
      } catch (error) {
        release()
        const moved = error instanceof NexusError && error.code === 'source_moved'
        if (!moved || attempt === ATTEMPTS) throw error
      } finally {
        await capture?.close()
      }
    }
  }
}

async function writeImage({ image }: SqliteCapture, path: string, signal: AbortSignal): Promise<void> {
  const target = openSync(path, 'wx', 0o600)
  try {
    const blocks = Math.ceil(image.size / image.blockSize)
    const step = Math.max(1, Math.floor(COPY_BYTES / image.blockSize))
    for (let first = 0; first < blocks; first += step) {
      signal.throwIfAborted()
      for (const { fd, position, length } of image.extents(first, Math.min(step, blocks - first))) {
        const bytes = Buffer.alloc(length)
        if (fd !== ZEROS) readAll(fd, bytes, position)
        for (let done = 0; done < length; ) done += (await write(target, bytes, done, length - done)).bytesWritten
      }
    }
  } finally {
    closeSync(target)
  }
}

function readAll(fd: number, bytes: Buffer, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    const count = readSync(fd, bytes, done, bytes.length - done, position + done)
    if (count === 0) throw new Error('it became shorter while it was read')
    done += count
  }
}

/** What cannot be looked at here is told where it is read. */
function isDatabase(path: string): boolean {
  let fd: number | undefined
  try {
    fd = openQuietly(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    return hasMagic(fd)
  } catch {
    return false
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}
