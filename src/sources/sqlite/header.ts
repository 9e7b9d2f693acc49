import { readSync } from 'node:fs'
import { NexusError } from '../../errors.js'

const HEADER_BYTES = 100
const MAGIC = Buffer.from('SQLite format 3\0', 'latin1')

/** What the first 100 bytes of a database file tell (SQLite "Database File Format", 1.3). */
export interface DatabaseHeader {
  /** Bytes. */
  pageSize: number
  /** True when readers use a write-ahead log. */
  wal: boolean
}

/**
 * Reads and checks the header of an open file.
 *
 * @throws NexusError `failed` (`not_a_database`) when it is empty, encrypted or something else
 */
export function readHeader(fd: number, path: string): DatabaseHeader {
  const header = Buffer.alloc(HEADER_BYTES)
  const length = readSync(fd, header, 0, HEADER_BYTES, 0)
  if (length === 0) {
    throw new NexusError('failed', 'not_a_database', `${path} is empty: zero bytes`, {
      hint: 'a database has at least one page: check the path, and whether the application has written to it yet',
    })
  }
  if (length < HEADER_BYTES || !header.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw notADatabase(`${path} is encrypted or not a SQLite database`)
  }
  // The value 1 stands for 65536, which does not fit in the two bytes.
  const stored = header.readUInt16BE(16)
  const pageSize = stored === 1 ? 65_536 : stored
  if (pageSize < 512 || (pageSize & (pageSize - 1)) !== 0) {
    throw notADatabase(`${path} has a damaged header: its page size is ${pageSize}`)
  }
  return { pageSize, wal: header[19] === 2 }
}

/** Whether an open file begins as every SQLite database does. */
export function hasMagic(fd: number): boolean {
  const bytes = Buffer.alloc(MAGIC.length)
  try {
    return readSync(fd, bytes, 0, bytes.length, 0) === bytes.length && bytes.equals(MAGIC)
  } catch {
    // Whoever reads the file finds out why.
    return false
  }
}

/** The page that SQLite locks by bytes and never stores anything in; its number from 1. */
export function lockBytePage(pageSize: number): number {
  return 0x40000000 / pageSize + 1
}

function notADatabase(message: string): NexusError {
  return new NexusError('failed', 'not_a_database', message, {
    hint: 'check the path; a database encrypted by SQLCipher or the like must be backed up with its own tool',
  })
}
