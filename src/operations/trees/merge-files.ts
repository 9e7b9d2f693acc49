import { linkSync, renameSync, rmSync, type Stats, unlinkSync } from 'node:fs'
import { errnoOf, isOfOneFile } from '../../errors.js'
import type { RestoreProblems } from '../../image/tree/restore-problems.js'
import { NAME_BYTES } from '../../system/derived-name.js'
import { fsPath, hasRawBytes, shown } from '../../system/file-names.js'
import { type HeldDirectory, sameFile } from '../../system/held-directory.js'
import { statName } from '../../system/names.js'
import { SIDECAR_SUFFIXES } from '../../system/sidecars.js'
import { TIME_ERROR_MS } from '../../system/times.js'
import type { OverwriteRule } from '../requests.js'
import { copied, type HiddenNames } from './hidden-names.js'
import { assertNobodyUses, databaseOf, mayBeDatabase, ofOneDatabase, replaceDatabase } from './merge-databases.js'
import { isReserved, type ReplacedFiles } from './replaced-files.js'

export const MEANWHILE = 'something was made in its place meanwhile'

/** Where an entry comes from and goes to. */
export interface Spot {
  staged: HeldDirectory
  target: HeldDirectory
  name: string
  /** Path relative to the directory that is merged into. */
  entry: string
  /** Path of the directory that it goes to, relative as well. */
  directory: string
  /** All that is staged beside it. */
  names: ReadonlySet<string>
  /** Whether it can be renamed. */
  isSameDisk: boolean
}

/** What became of an entry: `left` is among the problems. */
export type Placed = 'created' | 'replaced' | 'left'

/** Gives files, links, pipes and devices their places: each appears, or takes the place of another, in one step. */
export class FilePlacer {
  /** Relative paths of what was replaced. */
  readonly replaced: string[] = []
  /** Relative paths of what was copied to its place, and lies where it was staged as well. */
  readonly copied: string[] = []
  readonly #merging: Placing
  /** Relative paths of what did not get its place. */
  readonly #left = new Set<string>()

  constructor(merging: Placing) {
    this.#merging = merging
  }

  async place(spot: Spot): Promise<Placed> {
    const from = spot.staged.at(spot.name)
    const { hidden, kept, problems, disposable } = this.#merging
    if (spot.isSameDisk) return await this.#put(from, spot, disposable)
    // A run that was killed may have copied it to its place.
    if (kept.isAgain && isLike(statName(from), statName(spot.target.at(spot.name)))) return 'created'
    return await hidden.during(spot.directory, async name => {
      const beside = spot.target.at(name)
      try {
        if (!copied(from, beside, spot.entry, problems)) return 'left'
        const placed = await this.#put(beside, spot, true)
        if (placed !== 'left') this.copied.push(spot.entry)
        return placed
      } finally {
        // Where it did not get its place.
        rmSync(beside, { force: true })
      }
    })
  }

  /** @param ready lies in the same file system as its place */
  async #put(ready: string, spot: Spot, disposable: boolean): Promise<Placed> {
    const { target, name, entry } = spot
    const to = target.at(name)
    const there = statName(to)
    if (there === undefined) return this.#putNew(ready, spot)
    if (sameFile(there, statName(ready))) {
      // A run that was killed has given it its place.
      unlinkSync(fsPath(ready))
      return 'created'
    }
    const why = this.#whyNotOver(there, spot)
    if (why !== null) return this.#leave(entry, why)
    if (isLockable(spot) && mayBeDatabase(to) && statName(ready)?.isFile() === true) {
      try {
        const place = { ready, target, name, entry, disposable }
        const { kept, unseen } = this.#merging
        if (await replaceDatabase(place, kept, unseen)) return this.#hasReplaced(entry)
      } catch (error) {
        const reason = ofOneDatabase(error, target)
        if (reason === null) throw error
        return this.#leave(entry, reason)
      }
    }
    const isNew = this.#merging.kept.keep(to, entry)
    try {
      for (const sidecar of this.#sidecarsOf(ready, spot)) this.#setAside(target, name + sidecar, entry + sidecar)
      renameSync(fsPath(ready), fsPath(to))
    } catch (error) {
      // One that is immutable, say, is still there.
      if (isNew) this.#merging.kept.drop(entry)
      throw error
    }
    return this.#hasReplaced(entry)
  }

  #putNew(ready: string, spot: Spot): Placed {
    const { target, name, entry } = spot
    const foreign = this.#foreignLog(spot)
    if (foreign !== null) return this.#leave(entry, foreign)
    const beside = this.#sidecarsOf(ready, spot)
    const [sidecar] = beside
    if (sidecar !== undefined && this.#merging.rule === 'never')
      return this.#leave(entry, `${shown(sidecar)} of another database is beside it`)
    for (const one of beside) this.#setAside(target, name + one, entry + one)
    return appears(ready, target.at(name)) ? 'created' : this.#leave(entry, MEANWHILE)
  }

  /** Why what is there is not replaced; null when it is. */
  #whyNotOver(there: Stats, spot: Spot): string | null {
    const { rule, kept } = this.#merging
    if (there.isDirectory()) return 'a directory is in its place'
    if (rule === 'never') return MEANWHILE
    if (isReserved(spot.entry)) return 'what it would replace cannot be kept under its name'
    // A run that was killed had kept what was there then.
    const before = kept.isAgain && this.#merging.disposable ? kept.look(spot.entry) : undefined
    if (before !== undefined && !isLike(before, there)) return 'it was changed after the merge had been killed'
    return this.#foreignLog(spot)
  }

  /** Why a log of a database gets no place; null for anything else. */
  #foreignLog({ target, name, names, entry }: Spot): string | null {
    const database = databaseOf(name)
    if (database === undefined || !mayBeDatabase(target.at(database))) return null
    const isOther = !names.has(database) || this.#left.has(databaseOf(entry) ?? '')
    if (isOther) return `it would be taken for the log of ${shown(database)}, which is not restored with it`
    try {
      assertNobodyUses(target.at(database))
      return null
    } catch (error) {
      const reason = ofOneDatabase(error, target)
      if (reason === null) throw error
      return reason
    }
  }

  /**
   * What SQLite would take for the log of a database that is about to be put here, and that belongs to another one: it would
   * be written into it. Suffixes of names.
   */
  #sidecarsOf(ready: string, { target, name, names }: Spot): string[] {
    const there = SIDECAR_SUFFIXES.filter(suffix => {
      const found = names.has(name + suffix) ? undefined : statName(target.at(name + suffix))
      return found?.isFile() === true && found.size > 0
    })
    return there.length > 0 && (mayBeDatabase(ready) || mayBeDatabase(target.at(name))) ? there : []
  }

  #setAside(target: HeldDirectory, name: string, entry: string): void {
    this.#merging.kept.keep(target.at(name), entry)
    unlinkSync(fsPath(target.at(name)))
    this.replaced.push(entry)
  }

  #hasReplaced(entry: string): Placed {
    this.replaced.push(entry)
    return 'replaced'
  }

  #leave(entry: string, why: string): Placed {
    this.#merging.problems.leftOut(entry, why)
    if (databaseOf(entry) === undefined) this.#left.add(entry)
    return 'left'
  }
}

/** What the placing of files needs of a merge. */
export interface Placing {
  rule: OverwriteRule
  hidden: HiddenNames
  /** Takes what is replaced. */
  kept: ReplacedFiles
  problems: RestoreProblems
  /** Whether what is staged is a copy of what a backup has, and not what an undo brings back. */
  disposable: boolean
  /** Told of a database that a process may use which we may not look at. */
  unseen(path: string): void
}

/** Gives a staged file its place where nothing has it; false where something does. */
function appears(from: string, to: string): boolean {
  try {
    linkSync(fsPath(from), fsPath(to))
    unlinkSync(fsPath(from))
    return true
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false
    if (!isOfOneFile(error)) throw error
  }
  // A file system without hard links.
  if (statName(to) !== undefined) return false
  renameSync(fsPath(from), fsPath(to))
  return true
}

/** Whether SQLite can open what has a name, and keep a log beside it. */
function isLockable({ name, entry }: Spot): boolean {
  return !hasRawBytes(entry) && Buffer.byteLength(`${name}-journal`) <= NAME_BYTES
}

function isLike(one: Stats | undefined, other: Stats | undefined): boolean {
  if (one === undefined || other === undefined) return false
  return one.size === other.size && Math.abs(one.mtimeMs - other.mtimeMs) <= TIME_ERROR_MS
}
