import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Context } from '../../context.js'
import type { WalArchive } from '../../repository/wal/types.js'
import { parseWalName, segmentBeside } from '../../sources/postgres/wal-names.js'
import { clearFetched, openFetchSpool } from './fetch-spool.js'
import { fetchedNoteSuffix, fetchedSuffix, linesOf, type WalCall, writeNote } from './note.js'

const controlFile = 'global/pg_control'
const MOST_SEGMENTS = 16
const MOST_BYTES = 256 * 1024 * 1024

/**
 * Takes the segments after this one out of the archive while the program runs anyway: the calls that ask for them only
 * rename. Ends at the first that is not there or cannot be read, which is told when it is asked for.
 * @param fetched the segment just fetched: its name, its bytes' memory to be used again, and the data directory of the
 *   recovering server
 * @returns names
 */
export async function prefetch(
  context: Context,
  fetched: { archive: WalArchive; name: string; room: Buffer; directory: string; call: WalCall },
): Promise<string[]> {
  const { archive, name, room, directory, call } = fetched
  const bytes = room.byteLength
  const done: string[] = []
  if (parseWalName(name)?.kind !== 'segment') return done
  try {
    clearFetched(context, directory)
    const count = Math.min(MOST_SEGMENTS, Math.floor(MOST_BYTES / bytes))
    for (let by = 1; by <= count && !context.signal.aborted; by += 1) {
      const next = segmentBeside(name, by, bytes)
      if (next === undefined) break
      const spool = openFetchSpool(context, directory)
      if (spool === undefined) break
      const { plain } = await archive.read(next, room)
      const file = join(spool, next + fetchedSuffix)
      writeFileSync(file, plain, { mode: 0o600 })
      // The server writes its control file in place: the same inode is the same system.
      const control = `# ${statSync(join(directory, controlFile)).ino} ${controlFile}`
      writeNote(join(spool, next + fetchedNoteSuffix), call.key, [...linesOf([file]), ...call.files, control])
      done.push(next)
    }
  } catch {
    // The file asked for is in its place; what hinders the others is told when they are asked for.
  }
  return done
}
