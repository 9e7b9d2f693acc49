import { createHmac, randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, rmdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { errnoOf } from '../errors.js'
import { derivedName } from './derived-name.js'
import { exchanged, type HeldDirectory, whileHeld } from './held-directory.js'
import { moveName, removeIn, removeTree } from './names.js'
import { effectiveUser, keepsNoOwners } from './ownership.js'
import { isOursAlone } from './trusted-path.js'

/** What every directory for staged things is called, beside what they will replace. */
const PRIVATE = /^\..+\.nexus-restore-[\w-]+\.private$/
const OTHERS = 0o077
/** What is added to the name of a staged thing for what is made beside it: a cluster is laid out in `.NAME.nexus-restore-7f3a91c0.private`. */
const BESIDE_BYTES = 40
/** Makes names that nobody outside of this process can guess. */
const secret = randomBytes(32)

/** Where something is staged. */
export interface StagingPlace {
  /** Its path, for records and for the rename into place. */
  readonly staged: string
  /** A directory of ours alone around it, still to be made; null where nobody else can reach what lies beside the target. */
  readonly around: string | null
}

/**
 * Chooses where something is staged that will take the place of `target`: beside it, and in a directory that another user
 * may write to, inside a private directory beside it, under a name that nobody can guess. So neither can it be exchanged,
 * nor does a path to it ever lead to anything that exists elsewhere.
 *
 * @param target canonical
 * @param mark makes the name differ from those of other runs: `nexus-restore-…`; the same gives the same place
 */
export function stagingPlace(target: string, mark: string): StagingPlace {
  const beside = besideTarget(target, mark)
  if (isOursAlone(dirname(target))) return { staged: beside, around: null }
  const around = `${beside}.private`
  const name = createHmac('sha256', secret).update(beside).digest('hex').slice(0, 32)
  return { staged: join(around, name), around }
}

/** The path of what is staged for a target, or of the private directory around it without its suffix. */
export function besideTarget(target: string, mark: string): string {
  const name = derivedName(basename(target), { prefix: '.', suffix: `.${mark}`, reserved: BESIDE_BYTES })
  return join(dirname(target), name)
}

/** A place that is made and held. */
export class Staging {
  readonly place: StagingPlace
  readonly #held: HeldDirectory | null

  private constructor(place: StagingPlace, held: HeldDirectory | null) {
    this.place = place
    this.#held = held
  }

  /** Makes the private directory, if one is needed. */
  static make(place: StagingPlace): Staging {
    const { around } = place
    if (around === null) return new Staging(place, null)
    const held = whileHeld(dirname(around), parent => {
      mkdirSync(parent.at(basename(around)), { mode: 0o700 })
      return parent.enter(basename(around))
    })
    if (!isPrivate(held)) {
      held.close()
      throw exchanged(around)
    }
    return new Staging(place, held)
  }

  /** The path under which it is written to and read: over the descriptor of its directory where that is private. */
  get path(): string {
    const { staged } = this.place
    return this.#held === null ? staged : this.#held.at(basename(staged))
  }

  /** Names its directory in a message by the path that an operator can use. */
  nameIn(error: unknown): void {
    this.#held?.nameIn(error)
  }

  close(): void {
    this.#held?.close()
  }
}

/** Makes a place and runs `work` in it; what it stages stays. Its errors name the place by a path that an operator can use. */
export async function whileStaging<T>(place: StagingPlace, work: (staging: Staging) => Promise<T>): Promise<T> {
  const staging = Staging.make(place)
  try {
    return await work(staging)
  } catch (error) {
    staging.nameIn(error)
    throw error
  } finally {
    staging.close()
  }
}

/**
 * Puts what was staged in its place; what lies in a private directory is proven to be ours by that.
 *
 * @throws NexusError `refused` (`directory_exchanged`)
 */
export function moveIntoPlace(staged: string, target: string): void {
  moveName(staged, target, directory => {
    if (isNamedPrivate(directory.path) && !isPrivate(directory)) throw exchanged(directory.path)
  })
}

/**
 * Removes what was staged and all that was made beside it under its name (`NAME.digests`, `NAME-wal`). In a private
 * directory nothing else is touched: one that somebody gave its name keeps what is in it.
 */
export function dropStaging(staged: string): void {
  const around = dirname(staged)
  if (!isNamedPrivate(around)) {
    removeTree(staged)
    return
  }
  orGone(() => {
    whileHeld(around, held => {
      if (!isPrivate(held)) return
      for (const name of readdirSync(held.at('.'))) if (name.startsWith(basename(staged))) removeIn(held, name)
    })
  })
  leaveStaging(staged)
}

/** Removes the private directory around what was staged, once there is nothing in it. */
export function leaveStaging(staged: string): void {
  const around = dirname(staged)
  if (!isNamedPrivate(around)) return
  orGone(() => whileHeld(dirname(around), parent => rmdirSync(parent.at(basename(around)))))
}

/** The directory in which the place of a staged thing was chosen: its own, or the one around its private directory. */
export function directoryBeside(staged: string): string {
  const around = dirname(staged)
  return isNamedPrivate(around) ? dirname(around) : around
}

function isNamedPrivate(directory: string): boolean {
  return PRIVATE.test(basename(directory))
}

function orGone(work: () => void): void {
  try {
    work()
  } catch (error) {
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? '')) throw error
  }
}

function isPrivate(directory: HeldDirectory): boolean {
  const { uid, mode } = directory.stat()
  return (uid === effectiveUser() && (mode & OTHERS) === 0) || keepsNoOwners(directory.fd)
}
