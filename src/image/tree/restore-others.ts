import { constants, copyFileSync, linkSync, lutimesSync, symlinkSync } from 'node:fs'
import { errnoOf, isOfOneFile, messageOf, NexusError, reasonOf } from '../../errors.js'
import { fsPath, shown } from '../../system/file-names.js'
import { byShortPath } from '../../system/long-paths.js'
import { giveLink, giveSpecial } from '../../system/ownership.js'
import { makeSpecial } from '../../system/special-files.js'
import { fsTime } from '../../system/times.js'
import type { Places } from './restore-plan.js'
import type { RestoreProblems } from './restore-problems.js'
import type { RestoreTreeTarget } from './restore-tree.js'
import type { Tree } from './tree.js'
import type { TreeEntry } from './types.js'

interface Restoring {
  tree: Tree
  places: Places
  target: RestoreTreeTarget
  problems: RestoreProblems
}

/**
 * Makes what is neither a file nor a directory. Symbolic links come after everything else but their own hard links: until
 * then no path leads through one.
 *
 * @returns hard links that are files of their own now, for this file system has no hard links; to be settled like files
 * @throws NexusError `failed`
 */
export async function makeOthers(restoring: Restoring): Promise<TreeEntry[]> {
  const copies: TreeEntry[] = []
  const later: TreeEntry[] = []
  try {
    for (const entry of those(restoring, type => type !== 'file' && type !== 'directory' && type !== 'symlink')) {
      if (entry.type !== 'hardlink') await makeNode(entry, restoring)
      else if (restoring.tree.fileNumber(entry.link) === undefined) later.push(entry)
      else copies.push(...linkOrCopy(entry, restoring))
    }
    for (const entry of those(restoring, type => type === 'symlink')) makeLink(entry, restoring)
    for (const entry of later) copies.push(...linkOrCopy(entry, restoring))
  } catch (error) {
    throw writeFailed(error)
  }
  return copies
}

/** The entries of some types that have a place. */
function* those(
  { tree, problems }: Restoring,
  wanted: (type: TreeEntry['type']) => boolean,
): Generator<TreeEntry, void, void> {
  for (const entry of tree.entries()) {
    if (!wanted(entry.type)) continue
    if (problems.hasNoPlace(entry.path)) problems.leftOut(entry.path, 'its directory is missing')
    else yield entry
  }
}

async function makeNode(entry: TreeEntry, { places, target, problems }: Restoring): Promise<void> {
  const path = places.of(entry.path)
  try {
    await makeSpecial(places.around(entry.path), { type: entry.type, device: entry.device, path })
  } catch (error) {
    problems.leftOut(entry.path, error)
    return
  }
  settling(problems, entry.path, 'owner or mode', () => giveSpecial(path, target.owner(entry), entry.mode))
  setTime(entry, path, problems)
}

function makeLink(entry: TreeEntry, { places, target, problems }: Restoring): void {
  const path = places.of(entry.path)
  if (!trying(problems, entry.path, () => byShortPath(path, at => symlinkSync(fsPath(entry.link), at)))) return
  const owner = target.owner(entry)
  if (owner !== null) settling(problems, entry.path, 'owner', () => giveLink(path, owner))
  setTime(entry, path, problems)
}

function setTime({ path: entry, mtime }: TreeEntry, path: string, problems: RestoreProblems): void {
  const time = fsTime(mtime)
  settling(problems, entry, 'time', () => byShortPath(path, at => lutimesSync(at, time, time)))
}

/** A file is copied where it cannot have a further name: its data is there, and that is told. */
function linkOrCopy(entry: TreeEntry, { tree, places, problems }: Restoring): TreeEntry[] {
  const { path, link } = entry
  if (problems.missing.has(link)) {
    problems.leftOut(path, `${shown(link)} is missing, of which it is a hard link`)
    return []
  }
  const between = (work: (from: string | Buffer, to: string | Buffer) => void) =>
    byShortPath(places.of(link), from => byShortPath(places.of(path), to => work(from, to)))
  const number = tree.fileNumber(link)
  try {
    between(linkSync)
    return []
  } catch (error) {
    if (!isOfOneFile(error)) throw error
    const why = reasonOf(error)
    if (
      number === undefined ||
      !trying(problems, path, () => between((from, to) => copyFileSync(from, to, constants.COPYFILE_EXCL)))
    ) {
      if (number === undefined) problems.leftOut(path, why)
      return []
    }
    problems.altered(path, `as a copy of ${shown(link)}, since a hard link cannot be made: ${why}`)
    const { attributes } = tree.fileEntry(number)
    return [attributes === undefined ? entry : { ...entry, attributes }]
  }
}

/** Makes an entry, or leaves it out where its place cannot take it. False when it is left out. */
export function trying(problems: RestoreProblems, path: string, work: () => void): boolean {
  try {
    work()
    return true
  } catch (error) {
    if (!isOfOneFile(error)) throw error
    problems.leftOut(path, error)
    return false
  }
}

function settling(problems: RestoreProblems, path: string, what: string, work: () => void): void {
  try {
    work()
  } catch (error) {
    if (!isOfOneFile(error)) throw error
    problems.altered(path, `its ${what} cannot be set: ${reasonOf(error)}`)
  }
}

/** An error that stops the restore. */
export function writeFailed(cause: unknown): unknown {
  const errno = errnoOf(cause)
  if (errno === undefined) return cause
  const code = errno === 'ENOSPC' || errno === 'EDQUOT' ? 'disk_full' : 'restore_write_failed'
  return new NexusError('failed', code, messageOf(cause), { cause })
}
