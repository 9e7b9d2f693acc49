import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  type Stats,
  statSync,
  unlinkSync,
} from 'node:fs'
import { basename, dirname } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { messageOf, NexusError } from '../../errors.js'
import { exchanged, HeldDirectory, sameFile } from '../../system/held-directory.js'
import { nameExists, removeName } from '../../system/names.js'
import { assertOwnSidecars } from '../../system/sidecars.js'
import { assertUnused, foldLog, holdExclusively, sidecarsEmpty } from './fold.js'
import { lockBytePage, readHeader } from './header.js'
import { CHUNK_BYTES, keepCopy, read } from './keep-copy.js'
import { RollbackJournal, writeFully } from './rollback-journal.js'
import { usersOf } from './users.js'

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } = constants

/** File change counter, page count and free list: by these 16 bytes an idle connection knows its cache (pager.c, dbFileVers). */
const VERSION_AT = 24
const VERSION_BYTES = 16
const VALID_FOR_AT = 92

export interface Overwrite {
  /** The live path. */
  target: string
  /** The proven file whose content it gets. */
  staged: string
  /** Name for a copy of what is overwritten. */
  previous: string
  /** Called when the copy is durable and before the first byte changes; written down, it lets the next run finish. */
  willOverwrite(): Promise<void>
  /** Called when the overwriting failed and everything is as it was. */
  asItWas(): void
  /** Called with what of owner and mode the copy could not be given. */
  notKept(path: string, lost: string[]): void
}

/**
 * Gives a database the content of another within its own file, as one transaction with a rollback journal of SQLite's
 * format. No file is displaced: a connection that nobody sees, in a container, of another user or through another name
 * of the file, stays a connection to the live database. Whoever opens it after a crash rolls back what is half-done.
 *
 * @returns false when somebody wrote to the database meanwhile: its log is to be folded again
 * @throws NexusError `refused` (`database_in_use`), `failed` (`restore_half_done`)
 */
export async function overwrite(swap: Overwrite): Promise<boolean> {
  const { target, staged, previous } = swap
  const found = statSync(target)
  const hold = holdExclusively(target)
  const descriptors: number[] = []
  let directory: HeldDirectory | null = null
  let changing = false
  try {
    if (!sidecarsEmpty(target)) return false
    // Whoever owns the directory may exchange the names in it, and the directories around it.
    directory = HeldDirectory.open(dirname(target))
    const journal = directory.at(`${basename(target)}-journal`)
    // Closing a descriptor of the database drops the lock, so all are closed after it was released.
    const live = openSync(directory.at(basename(target)), O_RDWR | O_NOFOLLOW | O_NONBLOCK)
    descriptors.push(live)
    if (!sameFile(found, fstatSync(live))) throw exchanged(target)
    const fresh = openSync(staged, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    descriptors.push(fresh)
    assertUnused(target, () => {})
    swap.notKept(previous, await keepCopy(live, directory, basename(previous)))
    await swap.willOverwrite()
    if (nameExists(journal)) unlinkSync(journal)
    changing = true
    await recordPages(live, fresh, journal)
    fsyncSync(directory.fd)
    await copyContent(live, fresh)
    fsyncSync(live)
    // This commits.
    unlinkSync(journal)
    changing = false
    fsyncSync(directory.fd)
  } catch (error) {
    directory?.nameIn(error)
    hold.release()
    for (const fd of descriptors.splice(0)) closeSync(fd)
    if (changing) rollBack(target, error)
    swap.asItWas()
    throw error
  } finally {
    hold.release()
    for (const fd of descriptors) closeSync(fd)
    directory?.close()
  }
  return true
}

/**
 * Tells, after a crash, whether an overwriting had been committed; what was half-done is rolled back first. Where the
 * application has written since, the nearer one of both contents tells.
 */
export function wasOverwritten({
  target,
  staged,
  previous,
}: Pick<Overwrite, 'target' | 'staged' | 'previous'>): boolean {
  // Removed as the last step.
  if (!existsSync(staged)) return true
  if (existsSync(`${target}-journal`)) {
    readOnce(target)
    // One that was never armed is nothing to SQLite, and stays.
    if (sidecarsEmpty(target) && usersOf(target).processes.length === 0) removeName(`${target}-journal`)
  }
  return differences(target, staged) <= differences(target, previous)
}

/** Records every page that is going to change or to be cut off. */
async function recordPages(live: number, fresh: number, path: string): Promise<void> {
  const status: Stats = fstatSync(live)
  const { pageSize } = readHeader(live, path)
  const locked = lockBytePage(pageSize)
  const journal = new RollbackJournal(path, pageSize, status)
  let armed = false
  try {
    for (let at = 0; at < status.size; at += CHUNK_BYTES) {
      const [before, after] = [read(live, at), read(fresh, at)]
      if (before.equals(after)) continue
      for (let offset = 0; offset < before.length; offset += pageSize) {
        const page = (at + offset) / pageSize + 1
        const content = before.subarray(offset, offset + pageSize)
        if (page !== locked && !content.equals(after.subarray(offset, offset + pageSize))) journal.add(page, content)
      }
      await turn()
    }
    armed = true
    journal.arm(Math.ceil(status.size / pageSize))
  } finally {
    journal.close()
    if (!armed) removeName(path)
  }
}

async function copyContent(live: number, fresh: number): Promise<void> {
  const version = read(live, 0).subarray(VERSION_AT, VERSION_AT + VERSION_BYTES)
  const { size } = fstatSync(fresh)
  let changed = fstatSync(live).size !== size
  for (let at = 0; at < size; at += CHUNK_BYTES) {
    const after = read(fresh, at)
    if (read(live, at).equals(after)) continue
    writeFully(live, after, at)
    changed = true
    await turn()
  }
  ftruncateSync(live, size)
  const head = read(live, 0)
  if (changed && head.subarray(VERSION_AT, VERSION_AT + VERSION_BYTES).equals(version)) countUp(live, head)
}

/** Another content under the same counter would pass for the one in the cache of an idle connection. */
function countUp(live: number, head: Buffer): void {
  const counter = head.readUInt32BE(VERSION_AT)
  const next = Buffer.alloc(4)
  next.writeUInt32BE((counter + 1) >>> 0)
  writeFully(live, next, VERSION_AT)
  if (head.readUInt32BE(VALID_FOR_AT) === counter) writeFully(live, next, VALID_FOR_AT)
}

/** Has SQLite bring back what was overwritten. */
function rollBack(target: string, why: unknown): void {
  try {
    if (foldLog(target) === 'folded') return
    throw new Error('SQLite cannot open it')
  } catch (error) {
    const message = `${messageOf(why)}; and it could not be rolled back: ${messageOf(error)}`
    throw new NexusError('failed', 'restore_half_done', message, {
      hint: `remove the cause and open ${target} once: SQLite then rolls it back by the -journal beside it`,
      cause: error,
    })
  }
}

function readOnce(path: string): void {
  assertOwnSidecars(path)
  const database = new Database(path, { fileMustExist: true })
  try {
    database.pragma('schema_version')
  } finally {
    database.close()
  }
}

/** Chunks in which two files differ. */
function differences(one: string, other: string): number {
  const pair = [openSync(one, 'r'), openSync(other, 'r')] as const
  try {
    const size = Math.max(statSync(one).size, statSync(other).size)
    let count = 0
    for (let at = 0; at < size; at += 4096) if (!read(pair[0], at, 4096).equals(read(pair[1], at, 4096))) count += 1
    return count
  } finally {
    for (const fd of pair) closeSync(fd)
  }
}
