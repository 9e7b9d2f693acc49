import { closeSync, constants, existsSync, openSync, statSync, writeSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { messageOf, NexusError } from '../../errors.js'
import { NAME_BYTES } from '../../system/derived-name.js'
import { sameFile } from '../../system/held-directory.js'
import { copyName, linkName, moveName, removeName } from '../../system/names.js'
import { meansNoLinks } from '../../system/put-once.js'
import { leaveStaging, moveIntoPlace } from '../../system/staging.js'
import { syncDirectory } from '../crash-record.js'
import { copyHeld, type HeldCopy } from './copy-held.js'
import { foldLog, type Hold, holdExclusively, holdUnlessDamaged, inUse, sidecarsEmpty } from './fold.js'
import { otherNamesOf } from './other-names.js'
import { overwrite } from './overwrite.js'
import { describeUsers, identitiesOf, identityAt, seesEveryUser, usersOf, usersOfFiles } from './users.js'

/** Somebody may open the database between folding and locking it; more often than this is no accident. */
const ATTEMPTS = 5

/** One file taking another's place. */
export interface Move {
  from: string
  to: string
}

export interface Swap {
  /** The live path. */
  target: string
  /** The proven file that takes its place, in the same directory. */
  staged: string
  /** Sidecars that come with it (a rollback to a database that was too damaged to be opened), each with its place. */
  sidecars: Move[]
  /** Name for what is replaced. */
  previous: string
  /**
   * Called before the first step of a replacement that is more than one rename, with what is left to do: written down,
   * it lets the next run finish.
   */
  willMove(moves: Move[], remove: string[]): Promise<void>
  /** Whether `staged` is a scratch file, of no use when nothing comes of it. */
  disposable: boolean
  /** Called before the database is overwritten instead of displaced; written down, it lets the next run finish. */
  willOverwrite(): Promise<void>
  /** Called when the overwriting failed and was rolled back. */
  asItWas(): void
  warn(message: string): void
  /** Called with what of owner and mode of something could not be kept. */
  notKept(path: string, lost: string[]): void
}

/**
 * Puts a file in a database's place. The path is never missing, and what was there is kept as `previous`. Where every
 * process can be seen this is a single rename under an exclusive lock. A process that opened the old file just before it
 * would write a log beside the new one: it is looked for after the rename, under the lock, and the rename is undone.
 * Where not every process can be seen, the file has other names, or the file system has no hard links, the file gets the
 * new content instead and is never displaced. Returns false when nothing was replaced.
 *
 * @throws NexusError `refused` (`database_in_use`)
 */
export async function swapIn(swap: Swap): Promise<boolean> {
  const { target, staged, previous } = swap
  if (!existsSync(target)) {
    // Sidecars without their database would be taken for the new one's: they are kept, out of the way.
    const orphans = existingSidecars(target).map(from => ({ from, to: previous + from.slice(target.length) }))
    const moves = [...orphans, ...swap.sidecars, { from: staged, to: target }]
    await swap.willMove(moves, [])
    await carryOutMoves(moves, [])
    for (const { from, to } of orphans) swap.warn(`${from} had no database beside it and is kept as ${to}`)
    return false
  }
  const shared = statSync(target).nlink > 1 || otherNamesOf(target).length > 0
  if (!canHaveSidecars(target) || foldLog(target) === 'damaged') {
    if (shared) throw cannotOverwrite(target, 'SQLite cannot open it')
    await replaceByCopy(swap)
    return true
  }
  if (shared || !seesEveryUser(target)) {
    if (swap.sidecars.length === 0 && holdsDatabase(staged)) return overwriteContent(swap)
    if (shared) throw cannotOverwrite(target, `${staged} is no sound database`)
  }
  let begun = false
  const willMove: Swap['willMove'] = async (moves, remove) => {
    await swap.willMove(moves, remove)
    begun = true
  }
  for (let attempt = 1; ; attempt += 1) {
    if (!linked(target, previous)) return replaceWithoutLinks(swap)
    try {
      if (await renameUnderLock({ ...swap, willMove })) return true
    } catch (error) {
      if (!begun) dropLink(target, previous)
      throw error
    }
    dropLink(target, previous)
    if (attempt === ATTEMPTS) throw writtenAgain(target)
    foldLog(target)
  }
}

/** Beside a longer name SQLite can keep neither log nor journal, and cannot lock and complete the database either. */
function canHaveSidecars(path: string): boolean {
  return Buffer.byteLength(`${basename(path)}-journal`) <= NAME_BYTES
}

/** False where the file system has no hard links. */
function linked(target: string, previous: string): boolean {
  try {
    linkName(target, previous)
    return true
  } catch (error) {
    if (meansNoLinks(error)) return false
    throw error
  }
}

/**
 * Without a second name nothing can be displaced and come back: a sound database gets the new content, and anything else
 * takes the place of a copy that was made under a lock.
 */
async function replaceWithoutLinks(swap: Swap): Promise<boolean> {
  const { target, staged, sidecars, previous } = swap
  if (sidecars.length === 0 && holdsDatabase(staged)) return overwriteContent(swap)
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const held = await copyHeld(target, previous)
    if (held !== null) {
      try {
        swap.notKept(previous, held.lost)
        const moves = [{ from: staged, to: target }, ...sidecars]
        const empty = existingSidecars(target)
        await swap.willMove(moves, empty)
        await carryOutMoves(moves, empty)
        spoilReplaced(swap, held)
        return true
      } finally {
        held.release()
      }
    }
    foldLog(target)
  }
  throw writtenAgain(target)
}

/** What was replaced is useless from now on, and the restore is done all the same where that fails. */
function spoilReplaced({ target, warn }: Swap, held: HeldCopy): void {
  try {
    held.spoil()
  } catch (error) {
    warn(`restart every program that may have opened ${target} a moment before it was replaced: ${messageOf(error)}`)
  }
}

async function overwriteContent(swap: Swap): Promise<boolean> {
  const { target, staged, previous } = swap
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    if (await overwrite(swap)) {
      dropStaged(staged)
      return true
    }
    dropPrevious(previous)
    foldLog(target)
  }
  throw writtenAgain(target)
}

/**
 * Renames a file over a database under its lock, as `swapIn` does. What is replaced must be complete by itself and have
 * `previous` as a second name.
 *
 * @returns false when somebody wrote to it meanwhile: its log is to be folded again
 * @throws NexusError `refused` (`database_in_use`); it is as it was, and `previous` may be gone
 */
export function replaceUnderLock(swap: Pick<Swap, 'target' | 'staged' | 'previous' | 'disposable'>): Promise<boolean> {
  return renameUnderLock({ ...swap, sidecars: [], willMove: async () => {} })
}

type Rename = Pick<Swap, 'target' | 'staged' | 'previous' | 'disposable' | 'sidecars' | 'willMove'>

async function renameUnderLock(swap: Rename): Promise<boolean> {
  const { target, staged, sidecars, previous, willMove } = swap
  // Of sidecars that are removed below, the inodes may soon be those of a stranger's files.
  const old = identityAt(target)
  const hold = holdExclusively(previous)
  let held: Hold | null = null
  try {
    if (!sidecarsEmpty(target)) return false
    refuseUsers(target)
    for (const name of existingSidecars(target)) removeName(name)
    // The database goes first: a damaged one without its log is no worse, a sound one beside a foreign log would be.
    const moves = [{ from: staged, to: target }, ...sidecars]
    if (sidecars.length > 0) {
      await willMove(moves, [])
      await carryOutMoves(moves, [])
      return true
    }
    // Until the last look nobody may commit to the new one: it may have to go again.
    held = holdUnlessDamaged(staged)
    await carryOutMoves(moves, [])
    const { processes } = usersOfFiles(old)
    if (processes.length > 0) throw await takeBack(swap, inUse(target, processes))
    return true
  } finally {
    held?.release()
    hold.release()
    // Left by the locks, on names that have moved meanwhile.
    for (const name of [staged, previous]) dropEmptySidecars(name)
  }
}

/** Undoes the rename; returns what to throw. After a crash between its steps the next run goes on with it. */
async function takeBack({ target, staged, previous, disposable }: Rename, why: NexusError): Promise<NexusError> {
  linkName(target, staged)
  await takeBackRename({ target, staged, previous })
  const { processes } = usersOfFiles(identitiesOf(staged))
  if (processes.length === 0) return why
  // They opened what has no name any more, and would write its log beside the old one: they must get an error instead.
  if (disposable) spoilHeader(staged)
  return new NexusError('refused', why.code, `${why.message}; nothing was replaced`, {
    hint: `restart ${describeUsers(processes)}: it opened what was to replace the database; ${why.hint ?? ''}`,
  })
}

/** Goes on with undoing a rename: the new database then has two names, and `previous` still is the old one's. */
export async function takeBackRename(names: { target: string; staged: string; previous: string }): Promise<void> {
  const { target, staged, previous } = names
  const [live, fresh] = [target, staged].map(name => statSync(name, { throwIfNoEntry: false }))
  if (!existsSync(previous) || !sameFile(live, fresh)) return
  moveName(previous, target)
  await syncDirectory(dirname(target))
}

function refuseUsers(target: string): void {
  const { processes } = usersOf(target)
  if (processes.length > 0) throw inUse(target, processes)
}

function spoilHeader(path: string): void {
  const fd = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW)
  try {
    writeSync(fd, Buffer.alloc(100, 0xff), 0, 100, 0)
  } finally {
    closeSync(fd)
  }
}

function holdsDatabase(path: string): boolean {
  const hold = holdUnlessDamaged(path)
  hold?.release()
  return hold !== null
}

function cannotOverwrite(target: string, why: string): NexusError {
  return new NexusError('refused', 'other_names', `${target} has other names and ${why}: it cannot be replaced`, {
    hint: `stop what uses it, give ${target} a file of its own, and run it again`,
  })
}

function writtenAgain(target: string): NexusError {
  return new NexusError('refused', 'database_in_use', `${target} is written to again and again`, {
    hint: 'stop the program that uses it first',
  })
}

/**
 * For a database that SQLite cannot open there is no lock and no folding: it is copied aside whole, with its sidecars,
 * before anything is taken away.
 */
async function replaceByCopy(swap: Swap): Promise<void> {
  const { target, staged, previous } = swap
  const sidecars = existingSidecars(target)
  for (const name of [target, ...sidecars]) {
    const aside = previous + name.slice(target.length)
    swap.notKept(aside, copyName(name, aside))
  }
  await syncDirectory(dirname(target))
  const moves = [{ from: staged, to: target }, ...swap.sidecars]
  await swap.willMove(moves, sidecars)
  await carryOutMoves(moves, sidecars)
}

/**
 * Does what is still to do of a replacement; repeatable after a crash. What is to be removed goes before the first move,
 * and not any more once that is done: something of the same name may have been moved there since.
 */
export async function carryOutMoves(moves: readonly Move[], remove: readonly string[]): Promise<void> {
  const [first] = moves
  if (first !== undefined && existsSync(first.from)) for (const name of remove) removeName(name)
  for (const { from, to } of moves) {
    if (existsSync(from)) moveIntoPlace(from, to)
  }
  const last = moves.at(-1)
  if (last !== undefined) await syncDirectory(dirname(last.to))
}

/** Log, shared index and journal of a database, those that exist. */
export function existingSidecars(path: string): string[] {
  return [`${path}-wal`, `${path}-shm`, `${path}-journal`].filter(name => existsSync(name))
}

/** Removes the second name of a file, and only when it is that. */
function dropLink(target: string, previous: string): void {
  const linked = statSync(previous, { throwIfNoEntry: false })
  if (linked !== undefined && linked.ino === statSync(target).ino) removeName(previous)
}

/** Undoes the setting aside of a swap that did not come about. */
export function dropPrevious(previous: string): void {
  for (const name of [previous, ...existingSidecars(previous)]) removeName(name)
}

/** Scratch table of block digests beside a file that is being staged. */
export function digestsBeside(staged: string): string {
  return `${staged}.digests`
}

/** Removes a staged file that nothing comes of, with all that was made beside it. */
export function dropStaged(staged: string): void {
  for (const name of [staged, ...existingSidecars(staged), digestsBeside(staged)]) removeName(name)
  leaveStaging(staged)
}

/** Removes sidecars that hold nothing, which a killed process leaves; false when there is something in them. */
export function dropEmptySidecars(path: string): boolean {
  if (!sidecarsEmpty(path)) return false
  for (const name of existingSidecars(path)) removeName(name)
  return true
}
