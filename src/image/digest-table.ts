import { createHash } from 'node:crypto'
import { closeSync, constants, copyFileSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { NexusError } from '../errors.js'
import { DIGEST_BYTES } from './types.js'

const CHUNK_BYTES = 1024 * 1024

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

  /** The digests of `count` rows; fewer when the table ends before. */
  get(row: number, count: number): Uint8Array<ArrayBuffer> {
    const rows = Math.max(0, Math.min(count, this.#rows - row))
    const digests = new Uint8Array(rows * DIGEST_BYTES)
    let have = 0
    while (have < digests.length) {
      const got = readSync(this.#fd, digests, have, digests.length - have, row * DIGEST_BYTES + have)
      if (got === 0) throw new NexusError('failed', 'digest_table_short', `${this.path} became shorter while in use`)
      have += got
    }
    return digests
  }

  put(row: number, digests: Uint8Array): void {
    let done = 0
    while (done < digests.length) {
      done += writeSync(this.#fd, digests, done, digests.length - done, row * DIGEST_BYTES + done)
    }
  }

  /** The image digest: SHA-256 over all rows, hexadecimal. */
  imageDigest(): string {
    const hash = createHash('sha256')
    const step = CHUNK_BYTES / DIGEST_BYTES
    for (let row = 0; row < this.#rows; row += step) hash.update(this.get(row, step))
    return hash.digest('hex')
  }

  close(): void {
    closeSync(this.#fd)
  }
}
