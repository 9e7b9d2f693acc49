import { randomBytes } from 'node:crypto'
import { lstatSync, lutimesSync, readdirSync, readlinkSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { errnoOf, NexusError } from '../../errors.js'
import type { RestoreProblems } from '../../image/tree/restore-problems.js'
import { fsPath, nameOf } from '../../system/file-names.js'
import { HeldDirectory } from '../../system/held-directory.js'
import { copyName, removeIn } from '../../system/names.js'
import { effectiveUser, giveLink } from '../../system/ownership.js'
import { fsTime } from '../../system/times.js'
import type { TreeRecord } from './tree-record.js'

/** Where a merge copies to before an entry appears, as its record has it. */
type Hidden = NonNullable<TreeRecord['hidden']>

const MARK_BYTES = 8

/**
 * Names under which a merge makes what goes to another mount than the staged entries lie on: it is copied beside its place
 * and renamed when it is whole. The directory in which such a name is made is noted before, so that the next run finds what
 * a killed one left there.
 */
export class HiddenNames {
  readonly #mark = randomBytes(MARK_BYTES).toString('hex')
  readonly #note: (hidden: Hidden) => void
  #noted: string | null = null
  #count = 0
  /** Hidden directories around what is made now. */
  #depth = 0

  /** @param note writes down, durably, in which directory names may lie from now on: the path as `during` gets it */
  constructor(note: (hidden: Hidden) => void) {
    this.#note = note
  }

  /** @param directory path of the one in which the name is made, relative to the one that is merged into */
  async during<T>(directory: string, work: (name: string) => Promise<T>): Promise<T> {
    const name = this.#next(directory)
    this.#depth += 1
    try {
      return await work(name)
    } finally {
      this.#depth -= 1
    }
  }

  #next(directory: string): string {
    // What lies in a hidden directory goes with it.
    if (this.#depth === 0 && this.#noted !== directory) {
      this.#note({ directory, mark: this.#mark })
      this.#noted = directory
    }
    this.#count += 1
    return `${prefixOf(this.#mark)}${this.#count}`
  }
}

function prefixOf(mark: string): string {
  return `.nexus-merge-${mark}-`
}

/**
 * Copies a staged entry to a new name in another file system.
 *
 * @returns false where it cannot be copied, which is among the problems then
 */
export function copied(from: string, to: string, entry: string, problems: RestoreProblems): boolean {
  const found = lstatSync(fsPath(from))
  if (found.isSymbolicLink()) {
    symlinkSync(readlinkSync(fsPath(from), 'buffer'), to)
    if (effectiveUser() === 0) giveLink(to, found)
    lutimesSync(to, fsTime(found.atimeMs / 1000), fsTime(found.mtimeMs / 1000))
    return true
  }
  if (!found.isFile()) {
    problems.leftOut(entry, 'pipes and devices are not made on another file system than the one that is merged into')
    return false
  }
  for (const problem of copyName(from, to)) problems.altered(entry, problem)
  if (found.nlink > 1) problems.altered(entry, 'as a file of its own: its hard links are on another file system')
  return true
}

/**
 * Removes what a killed merge left under hidden names. No link is followed on the way.
 *
 * @returns where it would lie when that cannot be reached: a file system that is not mounted now, say; else null
 */
export function removeHidden({ home, hidden }: Pick<TreeRecord, 'home' | 'hidden'>): string | null {
  if (hidden === undefined) return null
  const held: HeldDirectory[] = []
  try {
    let directory = HeldDirectory.open(dirname(home))
    held.push(directory)
    for (const name of hidden.directory.split('/').filter(part => part !== '')) {
      directory = directory.enter(name)
      held.push(directory)
    }
    for (const name of readdirSync(directory.at('.'), { encoding: 'buffer' }).map(nameOf))
      if (name.startsWith(prefixOf(hidden.mark))) removeIn(directory, name)
    return null
  } catch (error) {
    const isGone = error instanceof NexusError || ['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')
    if (!isGone) throw error
    return join(dirname(home), hidden.directory, `${prefixOf(hidden.mark)}*`)
  } finally {
    for (const directory of held) directory.close()
  }
}
