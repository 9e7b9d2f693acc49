import { randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { giveWhatCan } from '../../system/ownership.js'

const MAGIC = Buffer.from('d9d505f920a163d7', 'hex')
const SECTOR_BYTES = 512
const BUFFER_BYTES = 1024 * 1024

/** Owner and mode of the database, which its journal shares: the application must be able to roll it back. */
export interface JournalOwner {
  uid: number
  gid: number
  mode: number
}

/**
 * A rollback journal as SQLite itself writes it ("Database File Format", 3). Once `arm` returns, whoever opens the
 * database brings the recorded pages back, and with them the former size; before that the journal means nothing.
 */
export class RollbackJournal {
  readonly #fd: number
  readonly #pageSize: number
  readonly #nonce = randomBytes(4).readUInt32BE(0)
  readonly #records: Buffer[] = []
  #waiting = 0
  #count = 0
  #end = SECTOR_BYTES

  /** @param path must not exist */
  constructor(path: string, pageSize: number, owner: JournalOwner) {
    this.#pageSize = pageSize
    this.#fd = openSync(path, 'wx', 0o600)
    giveWhatCan(this.#fd, owner, owner.mode & 0o777)
  }

  /** Records what a page holds before it is overwritten; pages count from 1, the lock-byte page is never recorded. */
  add(page: number, content: Buffer): void {
    const record = Buffer.alloc(this.#pageSize + 8)
    record.writeUInt32BE(page, 0)
    content.copy(record, 4)
    record.writeUInt32BE(this.#checksum(record.subarray(4, 4 + this.#pageSize)), this.#pageSize + 4)
    this.#records.push(record)
    this.#waiting += record.length
    this.#count += 1
    if (this.#waiting >= BUFFER_BYTES) this.#flush()
  }

  /** Makes everything durable, and only then the header that gives it effect. @param pages of the database before */
  arm(pages: number): void {
    this.#flush()
    fsyncSync(this.#fd)
    const header = Buffer.alloc(SECTOR_BYTES)
    MAGIC.copy(header)
    for (const [index, word] of [this.#count, this.#nonce, pages, SECTOR_BYTES, this.#pageSize].entries()) {
      header.writeUInt32BE(word, MAGIC.length + 4 * index)
    }
    writeFully(this.#fd, header, 0)
    fsyncSync(this.#fd)
  }

  close(): void {
    closeSync(this.#fd)
  }

  #flush(): void {
    const bytes = Buffer.concat(this.#records.splice(0))
    writeFully(this.#fd, bytes, this.#end)
    this.#end += bytes.length
    this.#waiting = 0
  }

  /** Every 200th byte from the end (SQLite pager.c, pager_cksum). */
  #checksum(page: Buffer): number {
    let sum = this.#nonce
    for (let at = this.#pageSize - 200; at > 0; at -= 200) sum += page[at] ?? 0
    return sum >>> 0
  }
}

/** Writes all of it, however many calls that takes. */
export function writeFully(fd: number, bytes: Buffer, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(fd, bytes, done, bytes.length - done, position + done)
  }
}
