import { fstatSync, lstatSync, read as readCallback, readSync } from 'node:fs'
import { promisify } from 'node:util'
import { reasonOf } from '../../errors.js'
import { fsPath, shown } from '../../system/file-names.js'
import { type FoundStats, foundStats } from './found.js'
import type { OpenFile } from './open-file.js'
import type { Remarks } from './remarks.js'

const read = promisify(readCallback)

/** Bytes read at a time; a file of no more than this is read in one piece. */
export const CHUNK_BYTES = 512 * 1024

/** An open file, and where it was found, for what there is to say. */
export interface Reading extends OpenFile {
  location: string
  remarks: Remarks
}

/** The content of a small file: exactly as many bytes as it had when it was opened. */
export function readWhole(reading: Reading): Buffer<ArrayBuffer> {
  const { fd, stats } = reading
  const bytes = Buffer.alloc(stats.size)
  try {
    let done = 0
    while (done < bytes.length) {
      const count = readSync(fd, bytes, done, bytes.length - done, done)
      if (count === 0) break
      done += count
    }
    if (done < bytes.length) sayShrunk(reading, done)
    else compare(reading)
  } catch (error) {
    sayUnreadable(reading, error)
  }
  return bytes
}

/**
 * The content of a file in pieces: exactly as many bytes as it had when it was opened, whatever becomes of it meanwhile,
 * since its size stands in the archive already. What is missing is zeros, and a problem. Never throws: archiver would
 * wait for ever for a stream that failed.
 */
export async function* readInPieces(reading: Reading): AsyncGenerator<Buffer<ArrayBuffer>> {
  const { fd, stats } = reading
  let done = 0
  let sound = true
  while (done < stats.size) {
    const piece = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, stats.size - done))
    let count = 0
    if (sound) {
      try {
        count = (await read(fd, piece, 0, piece.length, done)).bytesRead
        if (count === 0) sayShrunk(reading, done)
      } catch (error) {
        sayUnreadable(reading, error)
      }
      sound = count > 0
    }
    const bytes = sound ? piece.subarray(0, count) : piece.fill(0)
    done += bytes.length
    yield bytes
  }
  if (sound) compare(reading)
}

function sayShrunk({ location, stats, remarks }: Reading, at: number): void {
  remarks.problem(
    `${shown(location)} shrank from ${stats.size} to ${at} bytes while it was read; the rest is zeros in the backup`,
  )
}

function sayUnreadable({ location, remarks }: Reading, error: unknown): void {
  remarks.filled(
    `${shown(location)} cannot be read to its end; what is missing is zeros in the backup: ${reasonOf(error)}`,
  )
}

/** Whether a file that was read to its end may have been written to meanwhile, other than at its end. */
function compare({ fd, stats, location, remarks }: Reading): void {
  const now = foundStats(fstatSync(fd, { bigint: true }))
  if (now.mtime === stats.mtime && now.ctime === stats.ctime) return
  // A log that grows: the part that was read is what it was.
  if (now.size > stats.size) return
  if (now.mtime === stats.mtime && now.size === stats.size && isExplained(stats, now, location)) return
  remarks.problem(`${shown(location)} was changed while it was read: its content in the backup may be of two times`)
}

/** A new name, mode, owner or link changes a file's ctime and none of its bytes: logs are rotated like that. */
function isExplained(before: FoundStats, now: FoundStats, location: string): boolean {
  if (now.nlink !== before.nlink || now.mode !== before.mode || now.uid !== before.uid || now.gid !== before.gid) {
    return true
  }
  const named = lstatSync(fsPath(location), { bigint: true, throwIfNoEntry: false })
  return named === undefined || `${named.dev}:${named.ino}` !== before.inode
}
