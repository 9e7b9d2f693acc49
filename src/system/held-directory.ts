import { closeSync, constants, existsSync, fstatSync, lstatSync, openSync, readlinkSync, type Stats } from 'node:fs'
import { join } from 'node:path'
import { errnoOf, NexusError } from '../errors.js'
import { fsPath } from './file-names.js'

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants

/** Whether a descriptor can be used as a path. Node offers no openat(2); Linux reaches the same through /proc. */
const hasDescriptorPaths = existsSync('/proc/self/fd')

/**
 * A directory that is held open. Names are looked up in the directory that the descriptor stands for: whoever owns the
 * directories around it may rename them or put links in their place, and leads nothing astray.
 */
export class HeldDirectory {
  /** Where it lay when it was opened: for messages and records. */
  readonly path: string
  readonly fd: number
  #isOpen = true

  private constructor(path: string, fd: number) {
    this.path = path
    this.fd = fd
  }

  /**
   * Holds the directory that lies at a path, no part of which is a symbolic link.
   *
   * @param path canonical, as `trustedPath` gives it, or of a directory that is held, as `at` gives it
   * @throws NexusError `refused` (`directory_exchanged`) when a link is on the way now
   */
  static open(path: string): HeldDirectory {
    const plain = withoutDescriptor(path)
    const held = new HeldDirectory(
      plain,
      isDescriptor(path) ? openSync(path, O_RDONLY | O_DIRECTORY) : openNoLink(path, plain),
    )
    if (!held.isInPlace()) {
      held.close()
      throw exchanged(path)
    }
    return held
  }

  /** Whether its path still leads to it without a link. */
  isInPlace(): boolean {
    if (!hasDescriptorPaths) return sameFile(lstatSync(this.path, { throwIfNoEntry: false }), this.stat())
    return readlinkSync(`/proc/self/fd/${this.fd}`) === this.path
  }

  /** A path of a name in it, which the other threads and the children of this process may use too. */
  at(name: string): string {
    return join(descriptorPath(this.fd) ?? this.path, name)
  }

  /** Names it in a message by the path that an operator can use. */
  nameIn(error: unknown): void {
    if (error instanceof Error) error.message = error.message.replaceAll(`${this.at('.')}/`, `${this.path}/`)
  }

  /** Holds a directory in it; a link of that name is refused. */
  enter(name: string): HeldDirectory {
    const path = join(this.path, name)
    return new HeldDirectory(path, openNoLink(this.at(name), path))
  }

  stat(): Stats {
    return fstatSync(this.fd)
  }

  close(): void {
    if (this.#isOpen) closeSync(this.fd)
    this.#isOpen = false
  }
}

/** A path that stands for an open file or directory; undefined where the system has none. */
export function descriptorPath(fd: number): string | undefined {
  return hasDescriptorPaths ? `/proc/${process.pid}/fd/${fd}` : undefined
}

/** Holds a directory while `work` goes on. */
export function whileHeld<T>(path: string, work: (directory: HeldDirectory) => T): T {
  const directory = HeldDirectory.open(path)
  try {
    return work(directory)
  } finally {
    directory.close()
  }
}

/** Whether two looks were at the same file. */
export function sameFile(a: Stats | undefined, b: Stats | undefined): boolean {
  return a !== undefined && b !== undefined && a.dev === b.dev && a.ino === b.ino
}

/** Something took the place of a directory or file of ours while it was used. */
export function exchanged(path: string, cause?: unknown): NexusError {
  return new NexusError('refused', 'directory_exchanged', `${path} was exchanged for something else meanwhile`, {
    hint: `see who may write in the directories around it: namei -l ${path}`,
    cause,
  })
}

const DESCRIPTOR = new RegExp(`^/proc/${process.pid}/fd/\\d+`)

function isDescriptor(path: string): boolean {
  return DESCRIPTOR.exec(path)?.[0] === path
}

/** Where the directory of a path that begins with a descriptor lies now. */
export function withoutDescriptor(path: string): string {
  const [descriptor] = DESCRIPTOR.exec(path) ?? []
  return descriptor === undefined ? path : join(readlinkSync(descriptor), path.slice(descriptor.length))
}

function openNoLink(path: string, shown: string): number {
  try {
    return openSync(fsPath(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
  } catch (error) {
    const errno = errnoOf(error)
    // Linux says ENOTDIR for a link where a directory is asked for, other systems ELOOP.
    if (errno !== 'ELOOP' && errno !== 'ENOTDIR') throw error
    if (lstatSync(fsPath(path), { throwIfNoEntry: false })?.isSymbolicLink() !== true) throw error
    throw exchanged(shown, error)
  }
}
