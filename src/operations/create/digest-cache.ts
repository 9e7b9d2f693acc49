import { constants } from 'node:fs'
import { copyFile, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from '../../errors.js'
import { DigestTable } from '../../image/digest-table.js'
import type { Manifest } from '../../repository/manifest.js'
import { inStateDirectory, shareState } from '../state-directory.js'

/** Of everything that lies here, named after a backup. */
const suffixes = /\.(?:digests|memory|tree)$/

/**
 * Digest tables of the backups that the next one may be compared with, in the state directory: with them an increment
 * reads nothing of the repository. Only a cache: what is missing, unreadable or different is made again from the
 * chain's indexes, so its own failures are not worth an operator's attention.
 */
export class DigestCache {
  readonly #stateDirectory: string
  readonly #names: string[]
  readonly #directory: string

  constructor(stateDirectory: string, repositoryId: string, source: string) {
    this.#stateDirectory = stateDirectory
    this.#names = ['digests', repositoryId, source]
    this.#directory = join(stateDirectory, ...this.#names)
  }

  /** A backup's table when the cache has exactly that one. */
  load(manifest: Manifest): DigestTable | null {
    let table: DigestTable | undefined
    try {
      table = DigestTable.open(this.#path(manifest.id))
      if (table.imageDigest() === manifest.image_digest) return table
    } catch (error) {
      if (errnoOf(error) === undefined) throw error
    }
    table?.close()
    return null
  }

  /** Keeps a table, which may be taken away from `path`, and of the others only those in `keep`. */
  async store(id: string, path: string, keep: readonly string[]): Promise<void> {
    try {
      await inStateDirectory(this.#stateDirectory, this.#names, async directory => {
        const draft = `${id}.digests.new`
        await rm(directory.at(draft), { force: true })
        await moveOrCopy(path, directory.at(draft))
        shareState(directory, draft)
        await rename(directory.at(draft), directory.at(`${id}.digests`))
        const kept = new Set([id, ...keep])
        const others = (await readdir(directory.at('.'))).filter(name => !kept.has(name.replace(suffixes, '')))
        await Promise.all(others.map(name => rm(directory.at(name), { force: true })))
      })
    } catch (error) {
      if (errnoOf(error) === undefined) throw error
    }
  }

  #path(id: string): string {
    return join(this.#directory, `${id}.digests`)
  }
}

/** A table of a large database is tens of megabytes: only another file system makes a copy necessary. */
async function moveOrCopy(from: string, to: string): Promise<void> {
  try {
    await rename(from, to)
  } catch (error) {
    if (errnoOf(error) !== 'EXDEV') throw error
    await copyFile(from, to, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL)
  }
}
