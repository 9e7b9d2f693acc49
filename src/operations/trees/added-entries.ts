import { lstatSync, readdirSync, renameSync, rmdirSync, type Stats, unlinkSync } from 'node:fs'
import { errnoOf, isOfOneFile, reasonOf } from '../../errors.js'
import type { RestoreProblems } from '../../image/tree/restore-problems.js'
import { fsPath, nameOf } from '../../system/file-names.js'
import type { HeldDirectory } from '../../system/held-directory.js'
import { byShortPath } from '../../system/long-paths.js'
import { statName } from '../../system/names.js'
import { SIDECAR_SUFFIXES } from '../../system/sidecars.js'
import { TIME_ERROR_MS } from '../../system/times.js'
import { assertNobodyUses, mayBeDatabase, ofOneDatabase } from './merge-databases.js'
import { type ListedEntry, listedAs } from './merge-list.js'
import type { ReplacedFiles } from './replaced-files.js'

const CHANGED = 'it was changed since the merge'

/** What the removal needs. */
export interface Removal {
  target: HeldDirectory
  /** Takes what is removed. */
  kept: ReplacedFiles
  problems: RestoreProblems
  /** When the merge ended, by the clock of the file system. */
  writtenAt: number
}

/** Takes away what a merge has added to a directory; what was changed since stays, and is told. */
export class AddedEntries {
  count = 0
  readonly #removal: Removal

  constructor(removal: Removal) {
    this.#removal = removal
  }

  remove(added: ListedEntry): void {
    const { target, problems } = this.#removal
    try {
      whileBeneath(target, added.path.split('/'), (directory, name) => this.#removeIn(directory, name, added))
    } catch (error) {
      // Somebody has taken a directory away, or put something else in its place.
      if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error) ?? '')) return
      const reason = isOfOneFile(error) ? reasonOf(error) : ofOneDatabase(error, target)
      if (reason === null) throw error
      problems.stays(added.path, reason)
    }
  }

  #removeIn(directory: HeldDirectory, name: string, added: ListedEntry): void {
    const found = statName(directory.at(name))
    if (found === undefined) return
    const now = listedAs(added.path, found)
    if (now.kind === 'directory' && added.kind === 'directory') {
      this.#directory(directory, name, added.path)
      return
    }
    const isSame = now.kind === added.kind && now.size === added.size && isTime(now.mtime, added.mtime)
    if (!isSame || hasLog(directory.at(name))) this.#removal.problems.stays(added.path, CHANGED)
    else this.#file(directory, name, added.path)
  }

  #file(directory: HeldDirectory, name: string, entry: string): void {
    const path = directory.at(name)
    if (mayBeDatabase(path)) assertNobodyUses(path)
    this.#removal.kept.keep(path, entry)
    unlinkSync(fsPath(path))
    this.count += 1
  }

  #directory(parent: HeldDirectory, name: string, entry: string): void {
    const directory = parent.enter(name)
    try {
      if (this.#isUnchanged(directory) && this.#movedWhole(parent.at(name), entry)) return
      this.#content(directory, entry)
    } catch (error) {
      directory.nameIn(error)
      throw error
    } finally {
      directory.close()
    }
    try {
      rmdirSync(fsPath(parent.at(name)))
    } catch (error) {
      if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'EEXIST') throw error
    }
  }

  /** Entry by entry, where something was changed or nothing can be renamed. */
  #content(directory: HeldDirectory, entry: string): void {
    for (const name of namesIn(directory)) {
      const path = directory.at(name)
      const found = lstatSync(fsPath(path))
      if (found.isDirectory()) this.#directory(directory, name, `${entry}/${name}`)
      else if (this.#isAsPut(found) && !hasLog(path)) this.#file(directory, name, `${entry}/${name}`)
      else this.#removal.problems.stays(`${entry}/${name}`, CHANGED)
    }
    this.#removal.kept.dress(entry, directory)
  }

  #movedWhole(from: string, entry: string): boolean {
    try {
      byShortPath(this.#removal.kept.at(entry), at => {
        // rename(2) would quietly replace an empty directory.
        if (lstatSync(at, { throwIfNoEntry: false }) !== undefined) throw new Kept()
        renameSync(fsPath(from), at)
      })
      this.count += 1
      return true
    } catch (error) {
      if (error instanceof Kept || errnoOf(error) === 'EXDEV') return false
      throw error
    }
  }

  /** Whether nothing that a directory holds is other than the merge has put there. */
  #isUnchanged(directory: HeldDirectory): boolean {
    return namesIn(directory).every(name => {
      const found = lstatSync(fsPath(directory.at(name)))
      if (!found.isDirectory()) return this.#isAsPut(found)
      const inner = directory.enter(name)
      try {
        return this.#isUnchanged(inner)
      } finally {
        inner.close()
      }
    })
  }

  /** A further name that a file got in the merge counts as a change of it, but not of its content. */
  #isAsPut({ ctimeMs, mtimeMs, nlink }: Stats): boolean {
    const { writtenAt } = this.#removal
    return ctimeMs <= writtenAt || (nlink > 1 && mtimeMs <= writtenAt)
  }
}

/** Something is kept under that path already. */
class Kept extends Error {}

/** What an application has written to a database may stand in its log alone. */
function hasLog(path: string): boolean {
  return mayBeDatabase(path) && SIDECAR_SUFFIXES.some(suffix => (statName(path + suffix)?.size ?? 0) > 0)
}

function whileBeneath(
  directory: HeldDirectory,
  [name = '', ...rest]: readonly string[],
  work: (directory: HeldDirectory, name: string) => void,
): void {
  if (rest.length === 0) {
    work(directory, name)
    return
  }
  if (statName(directory.at(name))?.isDirectory() !== true) return
  const inner = directory.enter(name)
  try {
    whileBeneath(inner, rest, work)
  } catch (error) {
    inner.nameIn(error)
    throw error
  } finally {
    inner.close()
  }
}

function namesIn(directory: HeldDirectory): string[] {
  return readdirSync(directory.at('.'), { encoding: 'buffer' }).map(nameOf)
}

function isTime(one: number, other: number): boolean {
  return Math.abs(one - other) <= TIME_ERROR_MS
}
