import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  futimesSync,
  linkSync,
  lstatSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmdirSync,
  type Stats,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { errnoOf } from '../errors.js'
import { readAttributes, writeAttributes } from './attributes.js'
import { fsPath, nameOf } from './file-names.js'
import { exchanged, type HeldDirectory, sameFile, whileHeld } from './held-directory.js'
import { byShortPath } from './long-paths.js'
import { effectiveUser, give, giveSpecial, giveWhatCan, onDescriptor } from './ownership.js'
import { fsTime } from './times.js'
import { splitPath } from './trusted-path.js'

/**
 * Renames, links and removals in directories that another user may own. Paths are canonical; the directories are held, so
 * that none of these works in another place than it names.
 */

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDWR } = constants
const OWNER_MAY_WRITE = 0o200
const OWNER_MAY_ALL = 0o700
const COPY_BYTES = 1 << 20

/**
 * Renames a file or directory. What arrives is what was looked at before.
 *
 * @param check looks at the directory that it leaves, and throws
 * @throws NexusError `refused` (`directory_exchanged`)
 */
export function moveName(from: string, to: string, check?: (directory: HeldDirectory) => void): void {
  between(from, to, (source, target, directory) => {
    check?.(directory)
    const before = lstatSync(source)
    renameDirectory(source, target, before)
    if (!sameFile(before, lstatSync(target, { throwIfNoEntry: false }))) throw exchanged(to)
  })
}

/** Gives a file a second name. @throws NexusError `refused` (`directory_exchanged`) */
export function linkName(from: string, to: string): void {
  between(from, to, (source, target) => linkSync(source, target))
}

/**
 * Copies a regular file with its owner, mode, attributes and times to a name that is new, durably.
 *
 * @returns what of owner, mode and attributes could not be kept, in words
 * @throws NexusError `refused` (`directory_exchanged`) for anything but a regular file
 */
export function copyName(from: string, to: string): string[] {
  const lost: string[] = []
  between(from, to, (source, target) => {
    onDescriptor(source, 0, input => {
      const found = fstatSync(input)
      if (!found.isFile()) throw exchanged(from)
      const output = openSync(target, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
      try {
        copyBytes(input, output)
        lost.push(...giveWhatCan(output, found, found.mode & 0o7777))
        lost.push(
          ...writeAttributes(
            output,
            readAttributes(input, problem => lost.push(problem)),
          ),
        )
        futimesSync(output, fsTime(found.atimeMs / 1000), fsTime(found.mtimeMs / 1000))
        fsyncSync(output)
      } finally {
        closeSync(output)
      }
    })
  })
  return lost
}

function copyBytes(input: number, output: number): void {
  const buffer = Buffer.allocUnsafe(COPY_BYTES)
  for (let length = readSync(input, buffer); length > 0; length = readSync(input, buffer)) {
    for (let done = 0; done < length; ) done += writeSync(output, buffer, done, length - done)
  }
}

/** Removes a file; an absent one is no error. */
export function removeName(path: string): void {
  orGone(() => {
    const { directory, name } = splitPath(path)
    whileHeld(directory, held => unlinkSync(held.at(name)))
  })
}

/**
 * Removes a file, or a directory with all that is in it; an absent one is no error. No link is followed, whatever is
 * exchanged meanwhile: Node's own recursive removal looks at a path first and uses it later.
 */
export function removeTree(path: string): void {
  orGone(() => {
    const { directory, name } = splitPath(path)
    whileHeld(directory, held => removeIn(held, name))
  })
}

/** As `removeTree`, for a name in a directory that is held. Directories of this user that are closed to him are opened. */
export function removeIn(directory: HeldDirectory, name: string): void {
  orGone(() => {
    const path = fsPath(directory.at(name))
    const found = lstatSync(path)
    if (!found.isDirectory()) {
      unlinkSync(path)
      return
    }
    const isClosed = effectiveUser() !== 0 && (found.mode & OWNER_MAY_ALL) !== OWNER_MAY_ALL
    if (isClosed && found.uid === effectiveUser()) giveSpecial(directory.at(name), null, OWNER_MAY_ALL)
    const inner = directory.enter(name)
    try {
      for (const entry of readdirSync(inner.at('.'), { encoding: 'buffer' })) removeIn(inner, nameOf(entry))
    } finally {
      inner.close()
    }
    rmdirSync(path)
  })
}

/** Whether there is anything of this name, a dangling link included. */
export function nameExists(path: string | Buffer): boolean {
  return byShortPath(path, at => lstatSync(at, { throwIfNoEntry: false })) !== undefined
}

/** What a name stands for, a link itself. One that is too long for a file system names nothing in it. */
export function statName(path: string): Stats | undefined {
  try {
    return lstatSync(fsPath(path), { throwIfNoEntry: false })
  } catch (error) {
    if (errnoOf(error) === 'ENAMETOOLONG') return undefined
    throw error
  }
}

/** Whether a path is a directory itself, no link to one. */
export function isDirectory(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}

/** Renaming a directory into another one writes to it: an ordinary user may have closed it to himself. */
function renameDirectory(from: string, to: string, found: Stats): void {
  try {
    renameSync(from, to)
  } catch (error) {
    const closed = found.isDirectory() && found.uid === effectiveUser() && (found.mode & OWNER_MAY_WRITE) === 0
    if (errnoOf(error) !== 'EACCES' || !closed) throw error
    onDescriptor(from, 0, fd => {
      give(fd, null, (found.mode & 0o7777) | OWNER_MAY_WRITE)
      renameSync(from, to)
      give(fd, null, found.mode & 0o7777)
    })
  }
}

function between(from: string, to: string, work: (from: string, to: string, outOf: HeldDirectory) => void): void {
  const source = splitPath(from)
  const target = splitPath(to)
  whileHeld(source.directory, outOf => {
    whileHeld(target.directory, into => {
      work(outOf.at(source.name), into.at(target.name), outOf)
      if (!into.isInPlace()) throw exchanged(target.directory)
    })
  })
}

function orGone(work: () => void): void {
  try {
    work()
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
  }
}
