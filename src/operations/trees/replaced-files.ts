import { closeSync, constants, fsyncSync, linkSync, lstatSync, mkdirSync, openSync, readdirSync } from 'node:fs'
import { isOfOneFile } from '../../errors.js'
import { fsPath, hasRawBytes } from '../../system/file-names.js'
import { exchanged, HeldDirectory } from '../../system/held-directory.js'
import { byShortPath } from '../../system/long-paths.js'
import { copyName } from '../../system/names.js'
import { effectiveUser } from '../../system/ownership.js'

/** What a merge replaces, each file below its path in a new directory of ours, which is made with the first one. */
export class ReplacedFiles {
  readonly path: string
  /** The directory, once there is one, and those made in it, by relative path. */
  #home: HeldDirectory | null = null
  readonly #made = new Set<string>([''])

  constructor(path: string) {
    this.path = path
  }

  /** Gives a file a further name here; copies it where it cannot have one. */
  keep(from: string, entry: string): void {
    const kept = this.#placeFor(entry)
    try {
      byShortPath(kept, at => linkSync(fsPath(from), at))
    } catch (error) {
      const isFile = lstatSync(fsPath(from), { throwIfNoEntry: false })?.isFile() === true
      if (!isOfOneFile(error) || hasRawBytes(entry) || !isFile) throw error
      copyName(from, kept)
    }
  }

  /** A path in the directory, with the directories around it. */
  #placeFor(entry: string): string {
    this.#home ??= newHome(this.path)
    const names = entry.split('/').slice(0, -1)
    for (let depth = 1; depth <= names.length; depth += 1) {
      const directory = names.slice(0, depth).join('/')
      if (this.#made.has(directory)) continue
      byShortPath(this.#home.at(directory), at => mkdirSync(at, { mode: 0o700 }))
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
  const fd = byShortPath(path, at => openSync(at, constants.O_RDONLY | constants.O_DIRECTORY))
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
