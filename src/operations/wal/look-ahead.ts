import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { inOrder } from '../../image/ordered.js'
import { type PackThreads, startPacking } from '../../repository/wal/pack-thread.js'
import { parseWalName } from '../../sources/postgres/wal-names.js'
import type { Destination } from './destination.js'
import { archivedSuffix, linesOf, noteHolds, stampOf, type WalCall, writeNote } from './note.js'
import { readWal, walNameOf } from './read-wal.js'
import { clearArchived, openSpool } from './spool.js'

/** Larger segments are archived one by one: each is held in memory, and once more compressed. */
const LARGE_BYTES = 16 * 1024 * 1024
/** The server waits meanwhile, and a stop of the server too. */
const MOST_FILES = 64
const MOST_BYTES = 2 * 1024 * 1024 * 1024
const MOST_MS = 10_000
/** Files under way: one is packed by each thread while another one goes to the disk. */
const WIDTH = 4
const WORTH_A_THREAD = 4

/**
 * Archives, in the server's order, the other files that are ready, and leaves a note for each: the call that asks for it
 * returns at once. One process start for each segment is what archiving costs otherwise (anchors/postgres.md 5). What is
 * wrong with one of them is nobody's yet: that file's own call reports it. Any other failure ends it.
 * @param path of the file that was asked for, and which is left out
 * @param packing started for it by `startPackingFor`
 * @param copyNow brings a file to the copies that the server waits for, and tells where they lie on this machine
 * @returns names
 */
export async function lookAhead(
  context: Context,
  destination: Destination,
  path: string,
  { call, packing, copyNow }: Pick<Ahead, 'call' | 'packing' | 'copyNow'>,
): Promise<string[]> {
  const done: string[] = []
  try {
    const directory = dirname(path)
    const ready = await readyFiles(directory)
    // Not called by the server: nobody would ask for the others.
    if (!ready.includes(basename(path))) return done
    await destination.archive.removeLeftovers(basename(path), context.now())
    const spool = openSpool(directory)
    if (spool === undefined) return done
    await clearArchived(spool, ready)
    const { names: others, size } = await within(
      directory,
      ready.filter(name => name !== basename(path) && !noteHolds(join(spool, name + archivedSuffix), call.key)),
    )
    const archiveOne = archiver(context, destination, { directory, spool, call, size, packing, copyNow })
    for await (const name of inOrder(others, size > LARGE_BYTES ? 1 : WIDTH, archiveOne)) {
      if (name === undefined) break
      if (name !== STUCK) done.push(name)
    }
  } catch {
    // The file asked for is stored; what hinders the others is told when they are asked for.
  }
  return done
}

/** A thread for what is ready beside a file, where it is worth one: it starts while that file is archived. */
export async function startPackingFor(path: string): Promise<PackThreads | undefined> {
  const ready = await readyFiles(dirname(path))
  if (ready.length <= WORTH_A_THREAD || !ready.includes(basename(path))) return undefined
  const size = await stat(path).then(
    found => found.size,
    () => 0,
  )
  return size > LARGE_BYTES ? undefined : startPacking()
}

interface Ahead {
  directory: string
  spool: string
  call: WalCall
  /** Of the largest. */
  size: number
  packing: PackThreads | undefined
  copyNow?: ((name: string) => Promise<string[]>) | undefined
}

/** Instead of the name of a file that cannot be archived. */
const STUCK = ''

/** Whether an error is about one file of pg_wal, so that others can be archived all the same. */
export function isOfOneFile(error: unknown): error is NexusError {
  return error instanceof NexusError && ofOneFile.has(error.code)
}

const ofOneFile: ReadonlySet<string> = new Set([
  // The file itself, as it lies in pg_wal.
  ...['wal_unreadable', 'wal_malformed', 'wal_version', 'wal_foreign'],
  // What the archive holds under its name.
  ...['wal_differs', 'wal_damaged', 'wal_identity_unknown'],
])

/** Archives one file and leaves its note; undefined when it is time to end. */
function archiver(
  context: Context,
  { archive, control }: Destination,
  { directory, spool, call, size, packing, copyNow }: Ahead,
): (name: string) => Promise<string | undefined> {
  const end = context.now().getTime() + MOST_MS
  const rooms: Buffer[] = []
  let failed = false
  return async name => {
    if (failed || context.signal.aborted || context.now().getTime() > end) return undefined
    try {
      const room = rooms.pop() ?? Buffer.from(new SharedArrayBuffer(size))
      const file = await readWal(join(directory, name), walNameOf(name), control, room)
      const pack = packing === undefined ? {} : { pack: packing.pack }
      await archive.put(name, file.plain, { closedAt: file.closedAt, now: context.now(), ...pack })
      rooms.push(room)
      const copied = (await copyNow?.(name)) ?? []
      const stored = archive.localPath(name)
      // What changed while it was read was not finished.
      if (stampOf(join(directory, name)) !== file.stamp) return undefined
      const segment = `= ${file.stamp} ${join(directory, name)}`
      writeNote(join(spool, name + archivedSuffix), call.key, [
        segment,
        ...linesOf([...(stored === undefined ? [] : [stored]), ...copied]),
        ...call.files,
      ])
      return name
    } catch (error) {
      if (isOfOneFile(error)) return STUCK
      failed = true
      throw error
    }
  }
}

/** Names that the server wants archived, in its order: histories first, then by name (PostgreSQL pgarch.c). */
async function readyFiles(directory: string): Promise<string[]> {
  const found = await readdir(join(directory, 'archive_status')).catch(() => [])
  return found
    .filter(name => name.endsWith('.ready'))
    .map(name => name.slice(0, -'.ready'.length))
    .filter(name => parseWalName(name) !== undefined)
    .sort((a, b) => Number(b.endsWith('.history')) - Number(a.endsWith('.history')) || (a < b ? -1 : 1))
}

/** As many of the files as may be looked ahead to, and the size of the largest. */
async function within(directory: string, names: readonly string[]): Promise<{ names: string[]; size: number }> {
  const chosen: string[] = []
  let bytes = 0
  let largest = 0
  for (const name of names.slice(0, MOST_FILES)) {
    const size = await stat(join(directory, name)).then(
      found => found.size,
      () => undefined,
    )
    if (size === undefined) continue
    if (bytes + size > MOST_BYTES) break
    bytes += size
    largest = Math.max(largest, size)
    chosen.push(name)
  }
  return { names: chosen, size: largest }
}
