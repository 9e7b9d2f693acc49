import {
  closeSync,
  constants,
  fsyncSync,
  futimesSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  type Stats,
} from 'node:fs'
import { errnoOf, isOfOneFile } from '../../errors.js'
import { readAttributes, writeAttributes } from '../../system/attributes.js'
import { fsPath, hasRawBytes } from '../../system/file-names.js'
import { exchanged, HeldDirectory } from '../../system/held-directory.js'
import { byShortPath } from '../../system/long-paths.js'
import { copyName, removeName, removeTree } from '../../system/names.js'
import { effectiveUser, giveWhatCan } from '../../system/ownership.js'
import { fsTime } from '../../system/times.js'
import { LIST_NAME, type ListedEntry, MergeList } from './merge-list.js'

const OWNER_MAY_ALL = 0o700
/** A copy until it is whole. */
const COPY_NAME = `${LIST_NAME}~`
const OTHERS = 0o077

/**
 * What a merge replaces, each file below its path in a directory of ours, and the list by which the merge is undone. The
 * directory is made with the first entry that is put in place. All of it can be done again after a crash.
 */
export class ReplacedFiles {
  readonly path: string
  /** Whether a run that was killed may have kept something. */
  readonly isAgain: boolean
  readonly #continues: string | null
  #home: HeldDirectory | null = null
  #list: MergeList | null = null
  /** Directories in it that are known to be there, by relative path. */
  readonly #made = new Set<string>([''])

  /**
   * @param begin.continues name of the directory of a merge that was stopped, and that this one goes on with
   * @param begin.again it may be there: a run that was killed made it
   */
  constructor(path: string, begin: { continues?: string | null; again?: boolean } = {}) {
    this.path = path
    this.isAgain = begin.again === true
    this.#continues = begin.continues ?? null
  }

  /** Where something is kept. The directories around it are made. */
  at(entry: string): string {
    const home = this.#begun()
    const names = entry.split('/').slice(0, -1)
    for (let depth = 1; depth <= names.length; depth += 1) {
      const directory = names.slice(0, depth).join('/')
      if (this.#made.has(directory)) continue
      byShortPath(home.at(directory), at => makeDirectory(at))
      this.#made.add(directory)
    }
    return home.at(entry)
  }

  /** Writes down what is going to be put in place. */
  expect(entries: readonly ListedEntry[]): void {
    if (entries.length === 0) return
    this.#begun()
    this.#list?.expect(entries)
  }

  /** Takes back what `expect` has written down of an entry that did not get its place. */
  leave(entry: string): void {
    this.#list?.leave(entry)
  }

  /**
   * Gives a file a further name here; copies it where it cannot have one. What is kept of the entry already stays.
   *
   * @returns whether it was kept now
   */
  keep(from: string, entry: string): boolean {
    const kept = this.at(entry)
    try {
      byShortPath(kept, at => linkSync(fsPath(from), at))
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') return false
      const isFile = look(from)?.isFile() === true
      if (!isOfOneFile(error) || hasRawBytes(entry) || !isFile) throw error
      // Never half a copy under its name: an undo would bring it back.
      const copy = this.#begun().at(COPY_NAME)
      removeName(copy)
      copyName(from, copy)
      byShortPath(kept, at => renameSync(copy, at))
    }
    return true
  }

  /** What is kept of an entry; undefined when that is nothing. */
  look(entry: string): Stats | undefined {
    return byShortPath(this.at(entry), at => lstatSync(at, { throwIfNoEntry: false }))
  }

  /** Takes back what `keep` has just done: the file stays where it is. */
  drop(entry: string): void {
    byShortPath(this.at(entry), at => rmSync(at, { force: true }))
  }

  /** Gives a directory here, if there is one, what one of the same path has: it may be needed when the merge is undone. */
  dress(entry: string, like: HeldDirectory): void {
    if (entry === '' || !this.#made.has(entry) || this.#home === null) return
    const found = like.stat()
    byShortPath(this.#home.at(entry), at => {
      const fd = openSync(at, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
      try {
        giveWhatCan(fd, found, (found.mode & 0o7777) | OWNER_MAY_ALL)
        writeAttributes(
          fd,
          readAttributes(like.fd, () => {}),
        )
        futimesSync(fd, fsTime(found.atimeMs / 1000), fsTime(found.mtimeMs / 1000))
      } finally {
        closeSync(fd)
      }
    })
  }

  /** Whether anything was put in place, or was going to be. */
  get isBegun(): boolean {
    return this.#home !== null
  }

  /** Goes on with the list of a run that was killed, though nothing is left to move. */
  reopen(): void {
    this.#begun()
  }

  /** Makes what is kept durable, and lets go of it. @param ended `part`: the next merge goes on with this one */
  close(ended: 'whole' | 'part'): void {
    if (this.#home === null) return
    for (const directory of this.#made) syncName(this.#home.at(directory))
    this.#list?.end(ended)
    this.#home.close()
    this.#home = null
  }

  /** Takes everything back: nothing was put in place. */
  discard(): void {
    if (this.#home === null) return
    this.#list?.end('whole')
    this.#home.close()
    this.#home = null
    removeTree(this.path)
  }

  #begun(): HeldDirectory {
    if (this.#home !== null) return this.#home
    const isNew = makeDirectory(this.path)
    const home = HeldDirectory.open(this.path)
    const { uid, mode } = home.stat()
    // In a directory of another user, the new one may have been exchanged at once.
    if (uid !== effectiveUser() || (mode & OTHERS) !== 0 || !(isNew || this.isAgain)) {
      home.close()
      throw exchanged(this.path)
    }
    this.#home = home
    this.#list = new MergeList(home)
    if (isNew && this.#continues !== null) this.#list.continues(this.#continues)
    return home
  }
}

/** Whether an entry cannot be kept: its place is that of the list, or of a copy. */
export function isReserved(entry: string): boolean {
  return [LIST_NAME, COPY_NAME].includes(entry.split('/', 1)[0] ?? '')
}

/** @returns whether it was not there */
function makeDirectory(path: string | Buffer): boolean {
  try {
    mkdirSync(path, { mode: 0o700 })
    return true
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST' || !lstatSync(path).isDirectory()) throw error
    return false
  }
}

function look(path: string): Stats | undefined {
  return lstatSync(fsPath(path), { throwIfNoEntry: false })
}

function syncName(path: string): void {
  const fd = byShortPath(path, at => openSync(at, constants.O_RDONLY | constants.O_DIRECTORY))
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
