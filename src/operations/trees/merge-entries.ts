import { fsyncSync, futimesSync, lstatSync, mkdirSync, readdirSync, renameSync, type Stats } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { errnoOf, isOfOneFile, reasonOf } from '../../errors.js'
import { readAttributes, writeAttributes } from '../../system/attributes.js'
import { fsPath, nameOf } from '../../system/file-names.js'
import type { HeldDirectory } from '../../system/held-directory.js'
import { mountOf } from '../../system/mounts.js'
import { removeIn } from '../../system/names.js'
import { effectiveUser, give, giveWhatCan } from '../../system/ownership.js'
import { fsTime } from '../../system/times.js'
import { completeStaged, withLogs } from './merge-databases.js'
import { FilePlacer, MEANWHILE, type Placing, type Spot } from './merge-files.js'
import { listedAs } from './merge-list.js'
import { isReserved } from './replaced-files.js'

/** A merge on its way. */
export interface Merging extends Placing {
  signal: AbortSignal
  /** Told how many entries have moved, whenever the event loop gets its turn. */
  progress(done: number): void
}

const OWNER_MAY_ALL = 0o700
/** So many entries move before the event loop gets its turn, in which a signal is heard. */
const TURN_ENTRIES = 64

/**
 * Moves what is staged into a directory that is in use. Every directory is held while its entries are moved, and no link is
 * followed. Each entry appears, or takes the place of another, in one step, and is written down before; what it replaces
 * gets a further name among what is kept first. Nothing is removed, and a directory that is there stays as it is. All of it
 * can be done again after a crash.
 */
export class EntryMerger {
  /** Entries that were not there, a directory with what it holds as one. */
  created = 0
  readonly #merging: Merging
  readonly #files: FilePlacer
  /** Entries since the event loop had its turn. */
  #since = 0

  constructor(merging: Merging) {
    this.#merging = merging
    this.#files = new FilePlacer(merging)
  }

  /** Relative paths of what was replaced. */
  get replaced(): string[] {
    return this.#files.replaced
  }

  /** Relative paths of what was copied to its place, and lies where it was staged as well. */
  get copied(): string[] {
    return this.#files.copied
  }

  /**
   * Stops after a signal, between two entries; a database and its logs are one.
   *
   * @param path of the directory, relative to the one that is merged into; empty for that itself
   * @throws the reason of the signal
   */
  async merge(staged: HeldDirectory, target: HeldDirectory, path = ''): Promise<void> {
    const names = new Set(readdirSync(staged.at('.'), { encoding: 'buffer' }).map(nameOf))
    const isSameDisk = staged.stat().dev === target.stat().dev && mountOf(staged.fd) === mountOf(target.fd)
    const groups = [...withLogs(names)]
    const entryOf = (name: string) => (path === '' ? name : `${path}/${name}`)
    for (const group of groups) {
      const isOne = this.#completed(staged, group, entryOf(group[0] ?? ''))
      if (isOne) for (const log of group.splice(1)) names.delete(log)
    }
    const waiting = new Set(names)
    try {
      this.#expect({ staged, target }, [...names], entryOf)
      for (const group of groups) {
        await this.#turn()
        for (const name of group) {
          if (isReserved(entryOf(name))) {
            this.#reserved(entryOf(name))
            continue
          }
          await this.#entry({ staged, target, name, entry: entryOf(name), directory: path, names, isSameDisk })
          waiting.delete(name)
          // A copy takes its time.
          this.#since += isSameDisk ? 1 : TURN_ENTRIES
        }
      }
    } catch (error) {
      for (const name of waiting) this.#merging.kept.leave(entryOf(name))
      throw error
    } finally {
      fsyncSync(target.fd)
      this.#merging.kept.dress(path, target)
    }
  }

  /** Whether a database was completed by its logs. It comes as it is where that goes wrong. */
  #completed(staged: HeldDirectory, group: readonly string[], entry: string): boolean {
    try {
      return completeStaged(staged, group)
    } catch (error) {
      this.#merging.problems.altered(entry, `its log could not be written into it: ${reasonOf(error)}`)
      return false
    }
  }

  /** Writes down what is going to get a place in a directory: not what is merged itself, entry by entry. */
  #expect(
    { staged, target }: Pick<Spot, 'staged' | 'target'>,
    names: readonly string[],
    entryOf: (name: string) => string,
  ): void {
    const expected = names.flatMap(name => {
      const found = lstatSync(fsPath(staged.at(name)))
      const isMerged = found.isDirectory() && look(target.at(name)) !== undefined
      return isMerged || isReserved(entryOf(name)) ? [] : [listedAs(entryOf(name), found)]
    })
    this.#merging.kept.expect(expected)
  }

  async #turn(): Promise<void> {
    if (this.#since >= TURN_ENTRIES) {
      this.#since = 0
      this.#merging.progress(this.created + this.replaced.length)
      await setImmediate()
    }
    this.#merging.signal.throwIfAborted()
  }

  /** The list, when it is an undo; else something of its name. */
  #reserved(entry: string): void {
    if (this.#merging.disposable) this.#merging.problems.leftOut(entry, 'its name is kept for what an undo needs')
  }

  /** What goes wrong with one entry is its problem, and it is as it was. */
  async #entry(spot: Spot): Promise<void> {
    const { kept, problems } = this.#merging
    try {
      if (lstatSync(fsPath(spot.staged.at(spot.name))).isDirectory()) {
        await this.#directory(spot)
        return
      }
      const placed = await this.#files.place(spot)
      if (placed === 'created') this.created += 1
      if (placed === 'left') kept.leave(spot.entry)
    } catch (error) {
      if (!isOfOneFile(error)) throw error
      problems.leftOut(spot.entry, reasonOf(error))
      kept.leave(spot.entry)
    }
  }

  async #directory(spot: Spot): Promise<void> {
    const { staged, target, name, entry, isSameDisk } = spot
    const there = look(target.at(name))
    if (there !== undefined && !there.isDirectory()) {
      this.#merging.problems.leftOut(entry, 'something that is no directory is in its place')
      return
    }
    const from = staged.enter(name)
    try {
      const found = from.stat()
      // Who is not root cannot move anything out of a directory that is closed to writing, nor that itself.
      const isClosed = effectiveUser() !== 0 && (found.mode & OWNER_MAY_ALL) !== OWNER_MAY_ALL
      if (isClosed) give(from.fd, null, (found.mode & 0o7777) | OWNER_MAY_ALL)
      if (there !== undefined) {
        await whileEntered(target, name, to => this.merge(from, to, entry))
      } else if (isSameDisk && moved(staged.at(name), target.at(name))) {
        this.created += 1
        if (isClosed) give(from.fd, null, found.mode & 0o7777)
      } else {
        await this.#build(from, found, spot)
      }
    } finally {
      from.close()
    }
  }

  /** Makes a directory where none can be moved to. It appears when it is whole: one that is there would be left as it is. */
  async #build(from: HeldDirectory, found: Stats, { target, name, entry, directory }: Spot): Promise<void> {
    const { hidden, problems, kept } = this.#merging
    const before = this.created
    const copies = this.copied.length
    await hidden.during(directory, async beside => {
      try {
        mkdirSync(target.at(beside), { mode: 0o700 })
        await whileEntered(target, beside, async to => {
          await this.merge(from, to, entry)
          this.#likeStaged(from, to, { entry, found })
        })
        if (look(target.at(name)) === undefined) renameSync(target.at(beside), fsPath(target.at(name)))
        else problems.leftOut(entry, MEANWHILE)
        const isThere = look(target.at(beside)) === undefined
        if (!isThere) kept.leave(entry)
        if (!isThere) this.copied.splice(copies)
        this.created = before + (isThere ? 1 : 0)
      } catch (error) {
        this.created = before
        this.copied.splice(copies)
        throw error
      } finally {
        // Where it did not get its place.
        removeIn(target, beside)
      }
    })
  }

  #likeStaged(from: HeldDirectory, to: HeldDirectory, { entry, found }: { entry: string; found: Stats }): void {
    const { problems } = this.#merging
    for (const what of giveWhatCan(to.fd, found, found.mode & 0o7777))
      problems.altered(entry, `its ${what} cannot be set`)
    const lost: string[] = []
    lost.push(
      ...writeAttributes(
        to.fd,
        readAttributes(from.fd, problem => lost.push(problem)),
      ),
    )
    for (const problem of lost) problems.altered(entry, problem)
    futimesSync(to.fd, fsTime(found.atimeMs / 1000), fsTime(found.mtimeMs / 1000))
  }
}

/** A whole directory in one step; false where a quota keeps it apart. */
function moved(from: string, to: string): boolean {
  try {
    renameSync(fsPath(from), fsPath(to))
    return true
  } catch (error) {
    if (errnoOf(error) === 'EXDEV') return false
    throw error
  }
}

async function whileEntered(
  directory: HeldDirectory,
  name: string,
  work: (inner: HeldDirectory) => Promise<void>,
): Promise<void> {
  const inner = directory.enter(name)
  try {
    await work(inner)
  } finally {
    inner.close()
  }
}

function look(path: string): Stats | undefined {
  return lstatSync(fsPath(path), { throwIfNoEntry: false })
}
