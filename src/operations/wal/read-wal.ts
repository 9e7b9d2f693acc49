import { open } from 'node:fs/promises'
import { errnoOf, messageOf, NexusError } from '../../errors.js'
import type { ControlFile } from '../../sources/postgres/control-file.js'
import { parseTimelineHistory } from '../../sources/postgres/timeline-history.js'
import { checkSegment } from '../../sources/postgres/wal-header.js'
import { parseWalName, type WalName } from '../../sources/postgres/wal-names.js'
import { stampFrom } from './note.js'

const largestSegment = 1024 * 1024 * 1024
/** Histories and backup labels have a line for each promotion, or a dozen lines. */
const largestText = 1024 * 1024

/** A file of pg_wal, read and understood. */
export interface WalFile {
  name: string
  plain: Buffer
  closedAt: Date
  /** As `stampOf` says it. */
  stamp: string
  /** Of a segment's header; undefined for the files that have none. */
  systemIdentifier: string | undefined
}

/** Takes the name of a WAL file apart. @throws NexusError usage for any other */
export function walNameOf(name: string): WalName {
  const parsed = parseWalName(name)
  if (parsed !== undefined) return parsed
  throw new NexusError(
    'usage',
    'wal_name_invalid',
    `${JSON.stringify(name.slice(0, 120))} is not the name of a WAL file`,
    {
      hint: "PostgreSQL puts it in: archive_command = 'nexus-backup pitr archive %p'",
    },
  )
}

/**
 * Reads a file of pg_wal and makes sure that it is what its name says, of this system.
 * @param room memory to read into where it has the file's very size: a new one costs as much as reading
 * @throws NexusError refused for what must not be archived, failed when it cannot be read
 */
export async function readWal(
  path: string,
  name: WalName,
  control: ControlFile | undefined,
  room?: Buffer,
): Promise<WalFile> {
  const isText = name.kind === 'history' || name.kind === 'backup'
  const { plain, closedAt, stamp } = await readWhole(path, isText ? largestText : largestSegment, room)
  if (isText) checkText(name, plain)
  const systemIdentifier = isText ? undefined : checkSegment(name.name, plain, control).systemIdentifier
  return { name: name.name, plain, closedAt, stamp, systemIdentifier }
}

async function readWhole(
  path: string,
  limit: number,
  room: Buffer | undefined,
): Promise<Pick<WalFile, 'plain' | 'closedAt' | 'stamp'>> {
  try {
    const handle = await open(path, 'r')
    try {
      const found = await handle.stat({ bigint: true })
      if (!found.isFile()) throw malformed(path, 'it is not a regular file')
      if (found.size > BigInt(limit)) throw malformed(path, `it has ${found.size} bytes`)
      const size = Number(found.size)
      const plain = room?.byteLength === size ? room : Buffer.allocUnsafeSlow(size)
      let length = 0
      while (length < plain.byteLength) {
        const { bytesRead } = await handle.read(plain, length, plain.byteLength - length, length)
        if (bytesRead === 0) throw malformed(path, 'it was cut short while it was read')
        length += bytesRead
      }
      return { plain, closedAt: wholeMillisecondsFrom(found.mtimeNs), stamp: stampFrom(found) }
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    throw new NexusError('failed', 'wal_unreadable', `cannot read ${path}: ${messageOf(error)}`, {
      hint: 'the path is relative to the data directory, as PostgreSQL gives it; run it there and as its user',
      cause: error,
    })
  }
}

/** Not earlier than the instant: no commit in the file is later. */
function wholeMillisecondsFrom(nanoseconds: bigint): Date {
  return new Date(Number((nanoseconds + 999_999n) / 1_000_000n))
}

function checkText(name: WalName, plain: Buffer): void {
  const text = plain.toString('latin1')
  if (name.kind === 'history' && parseTimelineHistory(text, name.timeline).length > 0) return
  if (name.kind === 'backup' && text.startsWith('START WAL LOCATION: ')) return
  throw malformed(name.name, name.kind === 'history' ? 'it names no ancestor' : 'it is not the note of a base backup')
}

function malformed(path: string, problem: string): NexusError {
  return new NexusError('refused', 'wal_malformed', `${path} is not archived: ${problem}`, {
    hint: 'find out what happened to it; it was left as it is',
  })
}
