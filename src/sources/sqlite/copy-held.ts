import { closeSync, constants, fstatSync, openSync, statSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { fileLocks } from '../../system/file-locks.js'
import { exchanged, HeldDirectory, sameFile } from '../../system/held-directory.js'
import { inUse, sidecarsEmpty } from './fold.js'
import { keepCopy } from './keep-copy.js'
import { writeFully } from './rollback-journal.js'
import { identitiesOf, usersOfFiles } from './users.js'

/** All bytes that SQLite locks in a database file (os.h, PENDING_BYTE). */
const LOCKED_BYTES = { offset: 0x40000000, length: 512 }
const { O_NOFOLLOW, O_NONBLOCK, O_RDWR } = constants

/** A database that is copied aside and kept from everybody until it is replaced. */
export interface HeldCopy {
  /** What of owner and mode the copy could not be given, in words. */
  lost: string[]
  /**
   * Makes the file useless once nothing has its name any more: who opened it before that gets an error, instead of writing
   * its log beside the database that took its place.
   */
  spoil(): void
  release(): void
}

/**
 * Copies a database aside where no second name can be given to it, and keeps other processes out. The lock is taken on the
 * open file and not by SQLite, which would take the log beside the path for its own when it closes.
 *
 * @returns null when somebody wrote to it: its log is to be folded again
 * @throws NexusError `refused` (`database_in_use`)
 */
export async function copyHeld(target: string, previous: string): Promise<HeldCopy | null> {
  const found = statSync(target)
  const directory = HeldDirectory.open(dirname(target))
  let live: number | null = null
  let isHeld = false
  try {
    live = openSync(directory.at(basename(target)), O_RDWR | O_NOFOLLOW | O_NONBLOCK)
    const fd = live
    if (!sameFile(found, fstatSync(fd))) throw exchanged(target)
    if (fileLocks()?.tryLock(fd, LOCKED_BYTES, 'exclusive') === false) throw inUse(target)
    const { processes } = usersOfFiles(identitiesOf(target))
    if (processes.length > 0) throw inUse(target, processes)
    if (!sidecarsEmpty(target)) return null
    const lost = await keepCopy(fd, directory, basename(previous))
    isHeld = true
    return { lost, spoil: () => writeFully(fd, Buffer.alloc(100, 0xff), 0), release: () => closeSync(fd) }
  } catch (error) {
    directory.nameIn(error)
    throw error
  } finally {
    directory.close()
    if (live !== null && !isHeld) closeSync(live)
  }
}
