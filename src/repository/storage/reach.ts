import { lstatSync, mkdirSync } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { errnoOf, NexusError } from '../../errors.js'
import { HeldDirectory } from '../../system/held-directory.js'
import { guarded, symlinkFault } from './faults.js'
import { doing, type Ground, makeDirectory, pathOf, syncDirectory } from './ground.js'

/**
 * Paths of names in a repository, for as long as something is done there. No directory on the way is a symbolic link. Where
 * other users may write on the way, every directory is held open: they cannot put a link there in time either.
 */
export class Reach {
  readonly #ground: Ground
  readonly #held: HeldDirectory[] = []

  constructor(ground: Ground) {
    this.#ground = ground
  }

  /** The path of a name, whose last component is the caller's: opened with O_NOFOLLOW, or looked at with lstat. */
  async pathOf(name: string): Promise<string> {
    if (name === '') return this.directory('')
    const path = pathOf(this.#ground, name)
    const parent = parentOf(name)
    if (this.#ground.isShared) return this.#hold(parent).at(name.slice(name.lastIndexOf('/') + 1))
    if ((await realpath(dirname(path))) !== dirname(path)) throw this.#fault(parent)
    return path
  }

  /** The path of a directory. */
  async directory(name: string): Promise<string> {
    const path = pathOf(this.#ground, name)
    if (this.#ground.isShared) return this.#hold(name).at('.')
    if ((await realpath(path)) !== path) throw this.#fault(name)
    return path
  }

  /** Makes a directory and those above it below the root, 0700, the owner's, each one durable. */
  async ensureDirectory(name: string): Promise<string> {
    const path = pathOf(this.#ground, name)
    if (name === '') return this.directory('')
    const above = await this.ensureDirectory(parentOf(name))
    const place = join(above, name.slice(name.lastIndexOf('/') + 1))
    const found = lstatSync(place, { throwIfNoEntry: false })
    if (found?.isSymbolicLink()) throw this.#fault(name)
    if (found === undefined && makeDirectory(this.#ground, place)) await syncDirectory(above)
    return this.#ground.isShared ? this.directory(name) : path
  }

  /** Makes a directory in one that was given by this, for this process alone; it is held too. */
  makePrivate(path: string, shown: string): string {
    mkdirSync(path, { mode: 0o700 })
    if (!this.#ground.isShared) return path
    const held = HeldDirectory.open(dirname(path))
    try {
      const inner = held.enter(path.slice(path.lastIndexOf('/') + 1))
      this.#held.push(inner)
      return inner.at('.')
    } catch (error) {
      throw isExchange(error) ? symlinkFault(shown) : error
    } finally {
      held.close()
    }
  }

  close(): void {
    for (const directory of this.#held.splice(0)) directory.close()
  }

  #hold(name: string): HeldDirectory {
    let directory = HeldDirectory.open(this.#ground.root)
    for (const part of name === '' ? [] : name.split('/')) {
      try {
        const inner = directory.enter(part)
        directory.close()
        directory = inner
      } catch (error) {
        directory.close()
        throw isExchange(error) ? this.#fault(name) : error
      }
    }
    this.#held.push(directory)
    return directory
  }

  #fault(name: string): NexusError {
    return symlinkFault(join(this.#ground.location, name))
  }
}

function parentOf(name: string): string {
  return name.includes('/') ? name.slice(0, name.lastIndexOf('/')) : ''
}

function isExchange(error: unknown): boolean {
  return errnoOf(error) === 'ELOOP' || (error instanceof NexusError && error.code === 'directory_exchanged')
}

/** `guarded` for a name in the repository, with a reach that ends with the work. */
export async function at<T>(
  ground: Ground,
  verb: string,
  name: string,
  work: (reach: Reach) => Promise<T>,
): Promise<T> {
  const reach = new Reach(ground)
  try {
    return await guarded(doing(ground, verb, name), () => work(reach))
  } finally {
    reach.close()
  }
}
