import { randomBytes } from 'node:crypto'
import { accessSync, constants, fstatSync, lstatSync, readdirSync, renameSync, rmdirSync, statSync } from 'node:fs'
import { mkdir, open, readdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { errnoOf, NexusError } from '../../errors.js'
import { whileHeld } from '../../system/held-directory.js'
import { removeTree } from '../../system/names.js'
import { give, givesFilesAway, onDescriptor } from '../../system/ownership.js'
import {
  dropStaging,
  leaveStaging,
  moveIntoPlace,
  Staging,
  type StagingPlace,
  stagingPlace,
} from '../../system/staging.js'
import { trustedPath } from '../../system/trusted-path.js'
import { shellQuoted } from '../shell.js'

/** A directory that is made beside its place and put there when it is complete. */
export interface NewDirectory {
  /** Where it is made: empty, 0700, and this process's. */
  readonly staged: string
  readonly target: string
  /** Puts it in its place, durably. */
  put(): Promise<void>
  /** Takes it away, also from its place. */
  drop(): Promise<void>
  /** Names where it is made in a message by the path that an operator can use. */
  nameIn(error: unknown): void
}

/**
 * Where a directory that does not exist, or is empty, really lies.
 *
 * @throws NexusError `refused` (`target_exists`) for anything else, `not-found` (`target_directory_missing`)
 */
export function newDirectoryAt(path: string, flag: string): string {
  if (statOf(path) !== undefined) {
    const real = trustedPath(path)
    // What a killed restore left in a mount point is taken away before anything is put there (withLayoutRecord).
    if (lstatSync(real).isDirectory() && readdirSync(real).every(name => leftover.test(name))) return real
    throw occupied(path, flag)
  }
  const parent = dirname(path)
  if (statOf(parent)?.isDirectory() === true) return join(trustedPath(parent), basename(path))
  throw new NexusError('not-found', 'target_directory_missing', `there is no directory ${parent} to restore into`, {
    hint: `make it first: mkdir -p ${shellQuoted(parent)}`,
  })
}

/** @throws NexusError `refused` (`target_exists`) */
export function assertEmpty(directory: string, flag: string): void {
  if (readdirSync(directory).length > 0) throw occupied(directory, flag)
}

function occupied(path: string, flag: string): NexusError {
  return inTheWay(path, `choose another path with ${flag}, or move that one away first`)
}

/** Stands for a target in a record that lies inside of it; nothing ever has this name. */
const INSIDE = 'cluster'
/** Names of what is staged inside of a target, and of the record of it. */
const leftover =
  /^\.(?:nexus-restore-[0-9a-f]{8}(?:\.digests)?|cluster\.nexus-restore-[0-9a-f]{8}(?:\.digests|\.private)?|cluster\.nexus-restore\.json(?:\.\d+\.new)?)$/

/** What the names of everything that one restore stages have in common, and no other's. */
export function newMark(): string {
  return `nexus-restore-${randomBytes(4).toString('hex')}`
}

/** Where a directory is made, whether that is inside of its own place, and for what a record beside it is. */
export function layoutPlace(
  target: string,
  mark: string,
): { place: StagingPlace; isInside: boolean; recorded: string } {
  const isInside = statOf(target) !== undefined && !isReplaceable(target)
  const recorded = isInside ? join(target, INSIDE) : target
  return { place: stagingPlace(recorded, mark), isInside, recorded }
}

/**
 * Makes the place where the directory is built: beside its target, so that one rename puts it there. Inside an empty target
 * that is a mount point, or whose parent we may not write, its entries are moved up one by one, `global` with the control
 * file last: a copy that is cut off does not start (anchors/postgres.md 2.4).
 *
 * @param target as `newDirectoryAt` tells
 * @param mark as `newMark` gives it
 */
export async function stageDirectory(target: string, mark: string): Promise<NewDirectory> {
  const existed = statOf(target) !== undefined
  const { place, isInside } = layoutPlace(target, mark)
  const staging = Staging.make(place)
  const staged = staging.path
  await mkdir(staged, { mode: 0o700 })
  let isPut = false
  /** Names that were moved up. */
  const moved: string[] = []
  return {
    staged,
    target,
    async put() {
      if (isInside) moveUp(staged, target, moved)
      else takePlace(place.staged, target)
      isPut = true
      leaveStaging(place.staged)
      staging.close()
      await syncDirectory(isInside ? target : dirname(target))
    },
    async drop() {
      staging.close()
      dropStaging(place.staged)
      if (isPut && !existed) return removeTree(target)
      // What appeared there while ours was being made is somebody else's.
      const names = isPut ? await readdir(target) : moved
      for (const name of names) removeTree(join(target, name))
    },
    nameIn: error => staging.nameIn(error),
  }
}

/** Makes a directory's entries durable. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** rename(2) replaces an empty directory and nothing else by a directory. */
function takePlace(staged: string, target: string): void {
  try {
    moveIntoPlace(staged, target)
  } catch (error) {
    if (!['EEXIST', 'ENOTEMPTY', 'ENOTDIR'].includes(errnoOf(error) ?? '')) throw error
    throw appeared(target, error)
  }
}

/** @param moved gets the names that were moved */
function moveUp(staged: string, target: string, moved: string[]): void {
  whileHeld(target, into => {
    // Beside what is staged there is only the record of it.
    if (readdirSync(into.at('.')).some(name => !leftover.test(name))) throw appeared(target)
    onDescriptor(staged, constants.O_DIRECTORY, from => {
      const names = readdirSync(staged).sort((a, b) => Number(a === 'global') - Number(b === 'global'))
      for (const name of names) {
        renameSync(join(staged, name), into.at(name))
        moved.push(name)
      }
      const found = fstatSync(from)
      give(into.fd, givesFilesAway() ? found : null, found.mode & 0o7777)
    })
    rmdirSync(staged)
  })
}

function appeared(target: string, cause?: unknown): NexusError {
  return inTheWay(
    target,
    'it appeared while the copy was made; it was left as it is: move it away and try again',
    cause,
  )
}

function inTheWay(path: string, next: string, cause?: unknown): NexusError {
  return new NexusError('refused', 'target_exists', `${path} exists already and is not an empty directory`, {
    hint: `a cluster is never restored over anything; ${next}`,
    cause,
  })
}

function isReplaceable(target: string): boolean {
  const parent = dirname(target)
  try {
    accessSync(parent, constants.W_OK | constants.X_OK)
  } catch {
    return false
  }
  return lstatSync(target).dev === lstatSync(parent).dev
}

function statOf(path: string): ReturnType<typeof statSync> {
  try {
    return statSync(path)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined
    throw error
  }
}
