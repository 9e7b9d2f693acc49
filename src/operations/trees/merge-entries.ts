import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fsyncSync,
  futimesSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  type Stats,
  symlinkSync,
  unlinkSync,
} from 'node:fs'
import { errnoOf, isOfOneFile, reasonOf } from '../../errors.js'
import type { RestoreProblems } from '../../image/tree/restore-problems.js'
import { hasMagic } from '../../sources/sqlite/header.js'
import { readAttributes, writeAttributes } from '../../system/attributes.js'
import { fsPath, hasRawBytes, nameOf, shown } from '../../system/file-names.js'
import { exchanged, HeldDirectory } from '../../system/held-directory.js'
import { mountOf } from '../../system/mounts.js'
import { copyName } from '../../system/names.js'
import { effectiveUser, give, giveLink, giveWhatCan } from '../../system/ownership.js'
import { SIDECAR_SUFFIXES } from '../../system/sidecars.js'
import { fsTime } from '../../system/times.js'
import type { OverwriteRule } from '../requests.js'

/** A merge on its way. */
export interface Merging {
  rule: OverwriteRule
  signal: AbortSignal
  /** Where what is replaced is kept: a new directory of ours, made with the first file. */
  previous: string
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
  /** All that is staged beside it. */
  names: ReadonlySet<string>
  /** Whether it can be renamed. */
  isSameDisk: boolean
}

const OWNER_MAY_ALL = 0o700
const MEANWHILE = 'something was made in its place meanwhile'

/**
 * Moves what is staged into a directory that is in use. Every directory is held while its entries are moved, and no link is
 * followed. Each entry appears, or takes the place of another, in one step; what it replaces gets a further name below
 * `previous` first. Nothing is removed, and a directory that is there stays as it is.
 */
export class EntryMerger {
  /** Relative paths of what was replaced. */
  readonly replaced: string[] = []
  /** Entries that were not there, a directory with what it holds as one. */
  created = 0
  readonly #merging: Merging
  /** The directory in which things are kept, once there is one, and those made in it, by relative path. */
  #home: HeldDirectory | null = null
  readonly #made = new Set<string>([''])

  constructor(merging: Merging) {
    this.#merging = merging
  }

  /** @param path of the directory, relative to the one that is merged into; empty for that itself */
  merge(staged: HeldDirectory, target: HeldDirectory, path = ''): void {
    const names = new Set(readdirSync(staged.at('.'), { encoding: 'buffer' }).map(nameOf))
    const isSameDisk = staged.stat().dev === target.stat().dev && mountOf(staged.fd) === mountOf(target.fd)
    for (const name of names) {
      this.#merging.signal.throwIfAborted()
      const entry = path === '' ? name : `${path}/${name}`
      const spot = { staged, target, name, entry, names, isSameDisk }
      const isDirectory = lstatSync(fsPath(staged.at(name))).isDirectory()
      this.#ofItself(entry, () => {
        if (isDirectory) this.#directory(spot)
        else this.#file(spot)
      })
    }
    fsyncSync(target.fd)
  }

  #directory({ staged, target, name, entry, isSameDisk }: Spot): void {
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
      if (there === undefined && isSameDisk && this.#moved(staged.at(name), target.at(name))) {
        this.created += 1
        if (isClosed) give(from.fd, null, found.mode & 0o7777)
        return
      }
      if (there === undefined) mkdirSync(fsPath(target.at(name)), { mode: 0o700 })
      const to = target.enter(name)
      try {
        this.merge(from, to, entry)
        if (there === undefined) this.#likeStaged(from, to, { entry, found })
      } finally {
        to.close()
      }
    } finally {
      from.close()
    }
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
    this.created += 1
  }

  /** Anything but a directory. */
  #file(spot: Spot): void {
    const from = spot.staged.at(spot.name)
    if (spot.isSameDisk) {
      this.#put(from, spot)
      return
    }
    const beside = spot.target.at(`.nexus-merge-${randomBytes(8).toString('hex')}`)
    try {
      if (this.#copied(from, beside, spot.entry)) this.#put(beside, spot)
    } finally {
      // Where it did not get its place.
      rmSync(beside, { force: true })
    }
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
    if (there !== undefined) this.#keep(to, entry)
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
    this.#keep(target.at(name), entry)
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

  /** Copies a staged entry beside its place, which lies on another file system; false where it cannot be copied. */
  #copied(from: string, beside: string, entry: string): boolean {
    const { problems } = this.#merging
    const found = lstatSync(fsPath(from))
    if (found.isSymbolicLink()) {
      symlinkSync(readlinkSync(fsPath(from), 'buffer'), beside)
      if (effectiveUser() === 0) giveLink(beside, found)
      lutimesSync(beside, fsTime(found.atimeMs / 1000), fsTime(found.mtimeMs / 1000))
      return true
    }
    if (!found.isFile()) {
      problems.leftOut(entry, 'pipes and devices are not made on another file system than the one that is merged into')
      return false
    }
    for (const problem of copyName(from, beside)) problems.altered(entry, problem)
    if (found.nlink > 1) problems.altered(entry, 'as a file of its own: its hard links are on another file system')
    return true
  }

  #keep(from: string, entry: string): void {
    const kept = this.#placeFor(entry)
    try {
      linkSync(fsPath(from), fsPath(kept))
    } catch (error) {
      if (!isOfOneFile(error) || hasRawBytes(entry) || look(from)?.isFile() !== true) throw error
      copyName(from, kept)
    }
  }

  /** A path below `previous`, whose directories are made. */
  #placeFor(entry: string): string {
    this.#home ??= newHome(this.#merging.previous)
    const names = entry.split('/').slice(0, -1)
    for (let depth = 1; depth <= names.length; depth += 1) {
      const directory = names.slice(0, depth).join('/')
      if (this.#made.has(directory)) continue
      mkdirSync(fsPath(this.#home.at(directory)), { mode: 0o700 })
      this.#made.add(directory)
    }
    return this.#home.at(entry)
  }

  /** Makes what is kept durable, and lets go of it. */
  close(): void {
    if (this.#home === null) return
    for (const directory of this.#made) syncName(this.#home.at(directory))
    this.#home.close()
  }

  /** What goes wrong with one entry is its problem, and it is as it was. */
  #ofItself(entry: string, work: () => void): void {
    try {
      work()
    } catch (error) {
      if (!isOfOneFile(error)) throw error
      this.#merging.problems.leftOut(entry, reasonOf(error))
    }
  }
}

/** In a directory of another user, the new one may have been exchanged at once. */
function newHome(path: string): HeldDirectory {
  mkdirSync(path, { mode: 0o700 })
  const held = HeldDirectory.open(path)
  if (held.stat().uid === effectiveUser() && readdirSync(held.at('.')).length === 0) return held
  held.close()
  throw exchanged(path)
}

function syncName(path: string): void {
  const fd = openSync(fsPath(path), constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
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
