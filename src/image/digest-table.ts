import { createHash } from 'node:crypto'
import { closeSync, constants, copyFileSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { NexusError } from '../errors.js'
import { DIGEST_BYTES } from './types.js'

/** Rows read at a time: 1 MiB. */
const CHUNK_ROWS = 65_536

/**
 * The digest of every block of an image, one row of 16 bytes after another, in a file: a terabyte of
 * SQLite pages has four gigabytes of digests, so they are never all in memory.
 */
export class DigestTable {
  readonly path: string
  readonly #fd: number
  #rows: number

  private constructor(path: string, fd: number, rows: number) {
    this.path = path
    this.#fd = fd
    this.#rows = rows
  }

  /** A new table of `rows` empty rows. */
  static create(path: string, rows: number): DigestTable {
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600)
    ftruncateSync(fd, rows * DIGEST_BYTES)
    return new DigestTable(path, fd, rows)
  }

  /** A copy of another table, cut or lengthened to `rows`. */
  static copyOf(base: DigestTable, path: string, rows: number): DigestTable {
    copyFileSync(base.path, path, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
    const table = DigestTable.open(path)
    table.resize(rows)
    return table
  }

  static open(path: string): DigestTable {
    const fd = openSync(path, constants.O_RDWR)
    return new DigestTable(path, fd, Math.floor(fstatSync(fd).size / DIGEST_BYTES))
  }

  get rows(): number {
    return this.#rows
  }

  resize(rows: number): void {
    ftruncateSync(this.#fd, rows * DIGEST_BYTES)
    this.#rows = rows
  }

  /** Fills `into` with the digests from `row` on; the table must have as many. */
  read(row: number, into: Uint8Array): void {
    let have = 0
    while (have < into.length) {
      const got = readSync(this.#fd, into, have, into.length - have, row * DIGEST_BYTES + have)
      if (got === 0) throw new NexusError('failed', 'digest_table_short', `${this.path} became shorter while in use`)
      have += got
    }
  }

  /** Writes rows; beyond the end the table grows. */
  put(row: number, digests: Uint8Array): void {
    let done = 0
    while (done < digests.length) {
      done += writeSync(this.#fd, digests, done, digests.length - done, row * DIGEST_BYTES + done)
    }
    this.#rows = Math.max(this.#rows, row + digests.length / DIGEST_BYTES)
  }

  /** Takes rows over from another table, from its row `from` to the row `to` here. */
  copyRows(other: DigestTable, from: number, to: number, count: number): void {
    for (let done = 0; done < count; done += CHUNK_ROWS) {
      const digests = new Uint8Array(Math.min(CHUNK_ROWS, count - done) * DIGEST_BYTES)
      other.read(from + done, digests)
      this.put(to + done, digests)
    }
  }

  /** The image digest: SHA-256 over all rows, hexadecimal. */
  imageDigest(): string {
    const hash = createHash('sha256')
    for (let row = 0; row < this.#rows; row += CHUNK_ROWS) {
      const digests = new Uint8Array(Math.min(CHUNK_ROWS, this.#rows - row) * DIGEST_BYTES)
      this.read(row, digests)
      hash.update(digests)
    }
    return hash.digest('hex')
  }

  close(): void {
    closeSync(this.#fd)
  }
}
