import {
  closeSync,
  constants,
  fsyncSync,
  futimesSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  type Stats,
  unlinkSync,
} from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { errnoOf, isOfOneFile, reasonOf } from '../../errors.js'
import type { RestoreProblems } from '../../image/tree/restore-problems.js'
import { hasMagic } from '../../sources/sqlite/header.js'
import { readAttributes, writeAttributes } from '../../system/attributes.js'
import { fsPath, nameOf, shown } from '../../system/file-names.js'
import type { HeldDirectory } from '../../system/held-directory.js'
import { mountOf } from '../../system/mounts.js'
import { removeIn } from '../../system/names.js'
import { effectiveUser, give, giveWhatCan } from '../../system/ownership.js'
import { SIDECAR_SUFFIXES } from '../../system/sidecars.js'
import { fsTime } from '../../system/times.js'
import type { OverwriteRule } from '../requests.js'
import { copied, type HiddenNames } from './hidden-names.js'
import type { ReplacedFiles } from './replaced-files.js'

/** A merge on its way. */
export interface Merging {
  rule: OverwriteRule
  signal: AbortSignal
  /** Told how many entries have moved, whenever the event loop gets its turn. */
  progress(done: number): void
  hidden: HiddenNames
  /** Takes what is replaced. */
  kept: ReplacedFiles
  problems: RestoreProblems
  /** What SQLite keeps beside a database and the backup has too, as it is: relative paths. */
  same: ReadonlySet<string>
}

/** Where an entry comes from and goes to. */
interface Spot {
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

const OWNER_MAY_ALL = 0o700
/** So many entries move before the event loop gets its turn, in which a signal is heard. */
const TURN_ENTRIES = 64
const MEANWHILE = 'something was made in its place meanwhile'

/**
 * Moves what is staged into a directory that is in use. Every directory is held while its entries are moved, and no link is
 * followed. Each entry appears, or takes the place of another, in one step; what it replaces gets a further name among what
 * is kept first. Nothing is removed, and a directory that is there stays as it is.
 */
export class EntryMerger {
  /** Relative paths of what was replaced. */
  readonly replaced: string[] = []
  /** Entries that were not there, a directory with what it holds as one. */
  created = 0
  readonly #merging: Merging
  /** Entries since the event loop had its turn. */
  #since = 0

  constructor(merging: Merging) {
    this.#merging = merging
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
    try {
      for (const group of withLogs(names)) {
        await this.#turn()
        for (const name of group) {
          const entry = path === '' ? name : `${path}/${name}`
          await this.#entry({ staged, target, name, entry, directory: path, names, isSameDisk })
          // A copy takes its time.
          this.#since += isSameDisk ? 1 : TURN_ENTRIES
        }
      }
    } finally {
      fsyncSync(target.fd)
    }
  }

  async #turn(): Promise<void> {
    if (this.#since >= TURN_ENTRIES) {
      this.#since = 0
      this.#merging.progress(this.created + this.replaced.length)
      await setImmediate()
    }
    this.#merging.signal.throwIfAborted()
  }

  /** What goes wrong with one entry is its problem, and it is as it was. */
  async #entry(spot: Spot): Promise<void> {
    try {
      if (lstatSync(fsPath(spot.staged.at(spot.name))).isDirectory()) await this.#directory(spot)
      else this.#file(spot)
    } catch (error) {
      if (!isOfOneFile(error)) throw error
      this.#merging.problems.leftOut(spot.entry, reasonOf(error))
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
      } else if (isSameDisk && this.#moved(staged.at(name), target.at(name))) {
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
    const { hidden, problems } = this.#merging
    const before = this.created
    await hidden.during(directory, async beside => {
      try {
        mkdirSync(target.at(beside), { mode: 0o700 })
        await whileEntered(target, beside, async to => {
          await this.merge(from, to, entry)
          this.#likeStaged(from, to, { entry, found })
        })
        if (look(target.at(name)) === undefined) renameSync(target.at(beside), fsPath(target.at(name)))
        else problems.leftOut(entry, MEANWHILE)
        this.created = before + (look(target.at(beside)) === undefined ? 1 : 0)
      } catch (error) {
        this.created = before
        throw error
      } finally {
        // Where it did not get its place.
        removeIn(target, beside)
      }
    })
  }

  /** A whole directory in one step; false where a quota keeps it apart. */
  #moved(from: string, to: string): boolean {
    try {
      renameSync(fsPath(from), fsPath(to))
      return true
    } catch (error) {
      if (errnoOf(error) === 'EXDEV') return false
      throw error
    }
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

  /** Anything but a directory. */
  #file(spot: Spot): void {
    const from = spot.staged.at(spot.name)
    if (spot.isSameDisk) {
      this.#put(from, spot)
      return
    }
    this.#merging.hidden.duringCopy(spot.directory, hidden => {
      const beside = spot.target.at(hidden)
      try {
        if (copied(from, beside, spot.entry, this.#merging.problems)) this.#put(beside, spot)
      } finally {
        // Where it did not get its place.
        rmSync(beside, { force: true })
      }
    })
  }

  /** @param ready lies in the same file system as its place */
  #put(ready: string, { target, name, entry, names }: Spot): void {
    const to = target.at(name)
    const there = look(to)
    if (there?.isDirectory() === true) {
      this.#merging.problems.leftOut(entry, 'a directory is in its place')
      return
    }
    const beside = this.#sidecarsOf(ready, target, { name, entry, names })
    if (this.#merging.rule === 'never' && (there !== undefined || beside.length > 0)) {
      const [sidecar] = beside
      const why = there === undefined ? `${shown(`${sidecar}`)} of another database is beside it` : MEANWHILE
      this.#merging.problems.leftOut(entry, why)
      return
    }
    if (there !== undefined) this.#merging.kept.keep(to, entry)
    for (const sidecar of beside) this.#setAside(target, name + sidecar, entry + sidecar)
    if (there === undefined && this.#appears(ready, to)) {
      this.created += 1
      return
    }
    if (there === undefined) {
      this.#merging.problems.leftOut(entry, MEANWHILE)
      return
    }
    renameSync(fsPath(ready), fsPath(to))
    this.replaced.push(entry)
  }

  /**
   * What SQLite would take for the log of a database that is about to be put here, and that belongs to another one: it would
   * be written into it. Suffixes of names.
   */
  #sidecarsOf(
    ready: string,
    target: HeldDirectory,
    { name, entry, names }: Pick<Spot, 'name' | 'entry' | 'names'>,
  ): string[] {
    const there = SIDECAR_SUFFIXES.filter(suffix => {
      if (names.has(name + suffix) || this.#merging.same.has(entry + suffix)) return false
      const found = look(target.at(name + suffix))
      return found?.isFile() === true && found.size > 0
    })
    return there.length > 0 && mayBeDatabase(ready) ? there : []
  }

  #setAside(target: HeldDirectory, name: string, entry: string): void {
    this.#merging.kept.keep(target.at(name), entry)
    unlinkSync(fsPath(target.at(name)))
    this.replaced.push(entry)
  }

  /** Gives a staged file its place where nothing has it; false where something does. */
  #appears(from: string, to: string): boolean {
    try {
      linkSync(fsPath(from), fsPath(to))
      unlinkSync(fsPath(from))
      return true
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') return false
      if (!isOfOneFile(error)) throw error
    }
    // A file system without hard links.
    if (look(to) !== undefined) return false
    renameSync(fsPath(from), fsPath(to))
    return true
  }
}

/** Names one by one, but a file together with what SQLite keeps beside it: the one is of no use without the others. */
function* withLogs(names: ReadonlySet<string>): Generator<string[], void, void> {
  const isLog = (name: string) =>
    SIDECAR_SUFFIXES.some(suffix => name.endsWith(suffix) && names.has(name.slice(0, -suffix.length)))
  for (const name of names) {
    if (isLog(name)) continue
    yield [name, ...SIDECAR_SUFFIXES.map(suffix => name + suffix).filter(log => names.has(log))]
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

/** One that we cannot read may be one as well. */
function mayBeDatabase(path: string): boolean {
  let fd: number | undefined
  try {
    fd = openSync(fsPath(path), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    return hasMagic(fd)
  } catch {
    return look(path)?.isFile() === true
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

function look(path: string): Stats | undefined {
  return lstatSync(fsPath(path), { throwIfNoEntry: false })
}
