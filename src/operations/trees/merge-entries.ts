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
  readlinkSync,
  renameSync,
  type Stats,
  symlinkSync,
  unlinkSync,
} from 'node:fs'
import { errnoOf, isOfOneFile, reasonOf } from '../../errors.js'
import type { RestoreProblems } from '../../image/tree/restore-problems.js'
import { readAttributes, writeAttributes } from '../../system/attributes.js'
import { fsPath, hasRawBytes, nameOf } from '../../system/file-names.js'
import { exchanged, HeldDirectory } from '../../system/held-directory.js'
import { copyName } from '../../system/names.js'
import { effectiveUser, giveWhatCan } from '../../system/ownership.js'
import { fsTime } from '../../system/times.js'
import type { OverwriteRule } from '../requests.js'

/** A merge on its way. */
export interface Merging {
  rule: OverwriteRule
  signal: AbortSignal
  /** Where what is replaced is kept: a new directory of ours, made with the first file. */
  previous: string
  problems: RestoreProblems
}

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
    for (const bytes of readdirSync(staged.at('.'), { encoding: 'buffer' })) {
      this.#merging.signal.throwIfAborted()
      const name = nameOf(bytes)
      const entry = path === '' ? name : `${path}/${name}`
      const isDirectory = lstatSync(fsPath(staged.at(name))).isDirectory()
      this.#ofItself(entry, () => {
        if (isDirectory) this.#directory(staged, target, { name, entry })
        else this.#file(staged.at(name), target, { name, entry })
      })
    }
    fsyncSync(target.fd)
  }

  #directory(staged: HeldDirectory, target: HeldDirectory, { name, entry }: { name: string; entry: string }): void {
    const found = look(target.at(name))
    if (found === undefined && this.#moved(staged.at(name), target.at(name))) {
      this.created += 1
      return
    }
    const isMade = found === undefined
    if (found !== undefined && !found.isDirectory()) {
      this.#merging.problems.leftOut(entry, 'something that is no directory is in its place')
      return
    }
    if (isMade) mkdirSync(fsPath(target.at(name)), { mode: 0o700 })
    const [from, to] = [staged.enter(name), target.enter(name)]
    try {
      this.merge(from, to, entry)
      if (isMade) this.#likeStaged(from, to, entry)
    } finally {
      from.close()
      to.close()
    }
  }

  /** A whole directory in one step; false where it lies on another file system. */
  #moved(from: string, to: string): boolean {
    try {
      renameSync(fsPath(from), fsPath(to))
      return true
    } catch (error) {
      if (errnoOf(error) === 'EXDEV') return false
      throw error
    }
  }

  #likeStaged(from: HeldDirectory, to: HeldDirectory, entry: string): void {
    const found = from.stat()
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
  #file(from: string, target: HeldDirectory, { name, entry }: { name: string; entry: string }): void {
    const to = target.at(name)
    const ready = this.#onSameDisk(from, target, entry)
    if (this.#appears(ready, to)) {
      this.created += 1
      return
    }
    if (this.#merging.rule === 'never') {
      this.#merging.problems.leftOut(entry, 'something was made in its place meanwhile')
      return
    }
    if (look(to)?.isDirectory() === true) {
      this.#merging.problems.leftOut(entry, 'a directory is in its place')
      return
    }
    this.#keep(to, entry)
    renameSync(fsPath(ready), fsPath(to))
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

  /** Where a staged entry can be renamed from: what lies on another file system is copied beside its place first. */
  #onSameDisk(from: string, target: HeldDirectory, entry: string): string {
    const found = lstatSync(fsPath(from))
    if (found.dev === target.stat().dev) return from
    const beside = target.at(`.nexus-merge-${process.pid}-${this.created + this.replaced.length}`)
    if (found.isSymbolicLink()) symlinkSync(readlinkSync(fsPath(from), 'buffer'), beside)
    else for (const problem of copyName(from, beside)) this.#merging.problems.altered(entry, problem)
    return beside
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

function look(path: string): Stats | undefined {
  return lstatSync(fsPath(path), { throwIfNoEntry: false })
}
