import { NexusError } from '../errors.js'
import { checksumsLimit, parseChecksums } from './checksums.js'
import { memoryOfJson, memoryOfText } from './json.js'
import { checksumsFile, manifestFile } from './layout.js'
import type { Manifest } from './manifest.js'
import { checkAgainstSums, checkManifest, checkManifestDigest, manifestLimit } from './manifest-read.js'
import { mapParallel } from './parallel.js'
import type { SmallFiles } from './small-files.js'

/** Bytes of a usual manifest: a few thousand, or some hundred thousand with copies of configuration files. */
const USUAL_BYTES = 256 * 1024
/** Bytes of memory that a usual manifest takes at most, and that all larger ones of a source may take together, about. */
const USUAL_MEMORY = 1024 * 1024
const LARGE_MEMORY = 64 * 1024 * 1024

/** What is known of a source's large manifests, however often its backups are looked at. */
export class LargeManifests {
  /** Bytes of memory of each that was read. */
  readonly #taken = new Map<string, number>()
  /** Those for which there was no room: a further look finds no more. */
  readonly refused = new Map<string, NexusError>()

  /** Bytes of memory that one may take, beside the others; one that is read again takes its own place. */
  roomFor(id: string): number {
    const all = [...this.#taken].reduce((sum, [other, bytes]) => (other === id ? sum : sum + bytes), 0)
    return LARGE_MEMORY - all
  }

  take(id: string, bytes: number): void {
    this.#taken.set(id, bytes)
  }
}

/**
 * Reads the manifests of one source in bounded memory. Large ones are read one after another, the smallest first, as long
 * as there is room for them: whoever adds some of many megabytes makes those unusable, and no others.
 */
export class ManifestFiles {
  readonly #storage: SmallFiles
  readonly #source: string
  readonly #large: LargeManifests

  constructor(storage: SmallFiles, source: string, large = new LargeManifests()) {
    this.#storage = storage
    this.#source = source
    this.#large = large
  }

  /**
   * One backup's manifest, after its bytes were compared with SHA256SUMS.
   * @returns undefined for one that is larger than usual: see `readLarge`
   * @throws NexusError damage, or not-found when the files are not there
   */
  async read(id: string): Promise<Manifest | undefined> {
    const refusal = this.#large.refused.get(id)
    if (refusal !== undefined) throw refusal
    const reading = this.#bytesOf(id, USUAL_BYTES)
    // What is wrong with SHA256SUMS is told first.
    reading.catch(() => undefined)
    const sums = await readChecksums(this.#storage, this.#source, id)
    const bytes = await reading
    return bytes === undefined || memoryOfJson(bytes) > USUAL_MEMORY ? undefined : this.#checked(id, bytes, sums)
  }

  /** Reads those that `read` left out. @param keep is given what comes of each; an error is its own and not that of the others */
  async readLarge(ids: readonly string[], keep: (id: string, read: () => Manifest) => void): Promise<void> {
    const sized = await mapParallel(ids, 8, async id => ({ id, size: await this.#sizeOf(id) }))
    for (const { id, size } of sized.sort((a, b) => a.size - b.size)) {
      try {
        const manifest = await this.#readOne(id, size)
        keep(id, () => manifest)
      } catch (error) {
        if (error instanceof NexusError && error.code === 'manifest_too_large') this.#large.refused.set(id, error)
        keep(id, () => {
          throw error
        })
      }
    }
  }

  async #readOne(id: string, size: number): Promise<Manifest> {
    if (size > manifestLimit && size < Infinity) {
      throw tooLarge(id, `it has ${size} bytes where at most ${manifestLimit} are believed`)
    }
    const noRoom = () => tooLarge(id, 'with the others of its source it is larger than can be read')
    const room = this.#large.roomFor(id)
    if (memoryOfText(size) > room && size < Infinity) throw noRoom()
    const sums = await readChecksums(this.#storage, this.#source, id)
    const bytes = await this.#storage.readSmall(this.#pathOf(id), manifestLimit)
    checkManifestDigest(bytes, sums, id)
    const memory = memoryOfJson(bytes)
    if (memory > room) throw noRoom()
    const manifest = this.#checked(id, bytes, sums)
    this.#large.take(id, memory)
    return manifest
  }

  #pathOf(id: string): string {
    return `${this.#source}/${id}/${manifestFile}`
  }

  #checked(id: string, bytes: Buffer, sums: ReadonlyMap<string, string>): Manifest {
    checkManifestDigest(bytes, sums, id)
    const manifest = checkManifest(bytes, id, this.#source)
    checkAgainstSums(manifest, sums, id)
    return manifest
  }

  /** Undefined where it has more bytes. */
  async #bytesOf(id: string, limit: number): Promise<Buffer | undefined> {
    try {
      return await this.#storage.readSmall(this.#pathOf(id), limit)
    } catch (error) {
      if (error instanceof NexusError && error.code === 'file_too_large') return undefined
      throw error
    }
  }

  /** Infinite where it cannot be told: whoever reads it will say why. */
  async #sizeOf(id: string): Promise<number> {
    try {
      return await this.#storage.sizeOf(this.#pathOf(id))
    } catch (error) {
      if (error instanceof NexusError) return Infinity
      throw error
    }
  }
}

/** SHA256SUMS of a backup, parsed. Throws `damage`, or `not-found` when it is not there. */
export async function readChecksums(storage: SmallFiles, source: string, id: string): Promise<Map<string, string>> {
  const bytes = await storage.readSmall(`${source}/${id}/${checksumsFile}`, checksumsLimit)
  return parseChecksums(bytes, `${checksumsFile} of ${id}`)
}

function tooLarge(id: string, problem: string): NexusError {
  return new NexusError('damage', 'manifest_too_large', `the manifest of ${id} is too large: ${problem}`, {
    hint: 'nexus-backup writes none that large: find out who did',
  })
}
