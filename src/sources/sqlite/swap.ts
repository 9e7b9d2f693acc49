import { existsSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { NexusError } from '../../errors.js'
import { copyName, linkName, removeName } from '../../system/names.js'
import { leaveStaging, moveIntoPlace } from '../../system/staging.js'
import { syncDirectory } from '../crash-record.js'
import { foldLog, holdExclusively, sidecarsEmpty } from './fold.js'

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
  warn(message: string): void
}

/**
 * Puts a file in a database's place. Where the old one can be opened this is a single rename under an exclusive lock,
 * and the path is never missing; the old one keeps its file under `previous`. Returns false when nothing was replaced.
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
  if (foldLog(target) === 'damaged') {
    await replaceByCopy(swap)
    return true
  }
  let begun = false
  const willMove: Swap['willMove'] = async (moves, remove) => {
    await swap.willMove(moves, remove)
    begun = true
  }
  for (let attempt = 1; ; attempt += 1) {
    linkName(target, previous)
    try {
      if (await renameUnderLock({ ...swap, willMove })) return true
    } catch (error) {
      if (!begun) dropLink(target, previous)
      throw error
    }
    dropLink(target, previous)
    if (attempt === ATTEMPTS) {
      throw new NexusError('refused', 'database_in_use', `${target} is written to again and again`, {
        hint: 'stop the program that uses it first',
      })
    }
    foldLog(target)
  }
}

async function renameUnderLock({ target, staged, sidecars, previous, willMove }: Swap): Promise<boolean> {
  const hold = holdExclusively(previous)
  try {
    if (!sidecarsEmpty(target)) return false
    for (const name of existingSidecars(target)) removeName(name)
    // The database goes first: a damaged one without its log is no worse, a sound one beside a foreign log would be.
    const moves = [{ from: staged, to: target }, ...sidecars]
    if (sidecars.length > 0) await willMove(moves, [])
    await carryOutMoves(moves, [])
    return true
  } finally {
    hold.release()
  }
}

/**
 * For a database that SQLite cannot open there is no lock and no folding: it is copied aside whole, with its sidecars,
 * before anything is taken away.
 */
async function replaceByCopy(swap: Swap): Promise<void> {
  const { target, staged, previous } = swap
  const sidecars = existingSidecars(target)
  for (const name of [target, ...sidecars]) copyName(name, previous + name.slice(target.length))
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
