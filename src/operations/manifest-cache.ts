import { createHash } from 'node:crypto'
import { existsSync, lstatSync, type Stats } from 'node:fs'
import { join } from 'node:path'
import binding from 'zstd-napi/binding.js'
import type { Context } from '../context.js'
import { errnoOf, NexusError } from '../errors.js'
import { fromRows, type ManifestRows, toRows } from '../repository/manifest-rows.js'
import type { SourceRoom } from '../repository/types.js'
import type { BackupStamp, ManifestMemory, RememberedManifest } from '../repository/unchanged.js'
import { givesFilesAway, isOurs } from '../system/ownership.js'
import { readStateBytes, writeStateFile } from './state-file.js'

const directory = 'manifests'

/** Raised whenever a manifest that was accepted before might be judged otherwise. */
const FORMAT = 1

/** Manifests that the cache must lack before it is written anew: reading so few again costs less. */
const WORTH_WRITING = 32

/** A file system may tell changes apart only when they are this far from each other, in milliseconds (FAT: two seconds). */
const SETTLED_MS = 5000

/** Bytes of a manifest that is kept, and of all of them. */
const MOST_OF_ONE = 64 * 1024
const MOST_OF_ALL = 32 * 1024 * 1024

const OTHERS_MAY_WRITE = 0o022

const caches = new WeakMap<SourceRoom, ManifestCache>()

/** What earlier runs of this host have read of a source's manifests. */
export function manifestCacheOf(
  context: Pick<Context, 'now' | 'stateDirectory' | 'toolVersion'>,
  room: SourceRoom,
): ManifestMemory {
  const known = caches.get(room) ?? new ManifestCache(context, room)
  caches.set(room, known)
  return known
}

/**
 * Manifests that were read and checked, in the state directory, each with the stamps of its files: it counts as long as
 * these are the very files that were read. Only a cache: without it, and for whatever changed, the manifests are read. A file
 * that others can write, or that this version did not write, is passed over, and so is a state directory that is not there.
 */
class ManifestCache implements ManifestMemory {
  readonly #context: Pick<Context, 'now' | 'stateDirectory' | 'toolVersion'>
  readonly #names: readonly string[]
  readonly #file: string
  /** Before anything was read. */
  readonly #began = performance.now()
  #kept: ReadonlyMap<string, RememberedManifest> = new Map()

  constructor(
    context: Pick<Context, 'now' | 'stateDirectory' | 'toolVersion'>,
    { name, repository }: Pick<SourceRoom, 'name' | 'repository'>,
  ) {
    this.#context = context
    this.#names = [directory, repository.id]
    this.#file = `${name}.json`
  }

  async load(): Promise<readonly RememberedManifest[]> {
    const { stateDirectory, toolVersion } = this.#context
    try {
      const path = join(stateDirectory, ...this.#names, this.#file)
      const bytes = await readStateBytes(path, found => isBelieved(found, stateDirectory))
      const manifests = bytes === undefined ? [] : parseCache(bytes, toolVersion)
      this.#kept = new Map(manifests.map(one => [one.manifest.id, one]))
      return manifests
    } catch {
      // Whatever is wrong with it, the manifests themselves are there.
      return []
    }
  }

  async keep(known: readonly RememberedManifest[]): Promise<void> {
    const isKept = ({ manifest: { id }, stamp }: RememberedManifest) => this.#kept.get(id)?.stamp === stamp
    const staying = known.reduce((count, one) => (isKept(one) ? count + 1 : count), 0)
    const isHalfGone = staying * 2 < this.#kept.size
    if (known.length - staying < WORTH_WRITING && !isHalfGone) return
    const { stateDirectory, now, toolVersion } = this.#context
    const since = now().getTime() - (performance.now() - this.#began) - SETTLED_MS
    const settled = known.filter(({ stamp }) => stamp.every(([, , , , ctime]) => ctime < since))
    if (settled.length - staying < WORTH_WRITING && !isHalfGone) return
    if (!existsSync(stateDirectory)) return
    try {
      await writeStateFile(stateDirectory, this.#names, this.#file, formatCache(settled, toolVersion))
      this.#kept = new Map(settled.map(one => [one.manifest.id, one]))
    } catch (error) {
      if (errnoOf(error) === undefined && !(error instanceof NexusError)) throw error
    }
  }
}

/** Whether nobody else can have written it: as root, the owner of the state directory shares it with us. */
function isBelieved(found: Stats, stateDirectory: string): boolean {
  if ((found.mode & OTHERS_MAY_WRITE) !== 0) return false
  return isOurs(found) || (givesFilesAway() && found.uid === lstatSync(stateDirectory).uid)
}

/** A line that says what follows, which is the manifests in rows, with their stamps, compressed. */
function formatCache(known: readonly RememberedManifest[], version: string): Buffer {
  const kept: RememberedManifest[] = []
  let bytes = 0
  // The newest are kept where there is no room for all.
  for (const one of [...known].sort((a, b) => b.manifest.sequence - a.manifest.sequence)) {
    const size = JSON.stringify(one).length
    if (size > MOST_OF_ONE) continue
    bytes += size
    if (bytes > MOST_OF_ALL) break
    kept.push(one)
  }
  kept.reverse()
  const rows = toRows(kept.map(({ manifest }) => manifest))
  const stamps = kept.map(({ stamp }) => stamp.flat())
  const plain = Buffer.from(JSON.stringify({ ...rows, stamps }))
  const room = Buffer.allocUnsafeSlow(binding.compressBound(plain.length))
  const body = room.subarray(0, new binding.CCtx().compress(room, plain, 1))
  return Buffer.concat([Buffer.from(`${headOf(body, plain.length, version)}\n`), body])
}

/** What a cache holds; nothing where it is of another version or damaged. May throw anything. */
function parseCache(bytes: Buffer, version: string): RememberedManifest[] {
  const end = bytes.indexOf('\n')
  const head = bytes.toString('latin1', 0, end)
  const [, length] = /"bytes":(\d{1,9}),/.exec(head) ?? []
  const body = bytes.subarray(end + 1)
  if (length === undefined || Number(length) > 2 * MOST_OF_ALL) return []
  if (head !== headOf(body, Number(length), version)) return []
  const plain = Buffer.allocUnsafeSlow(Number(length))
  new binding.DCtx().decompress(plain, body)
  const { stamps, ...rows } = JSON.parse(plain.toString()) as ManifestRows & { stamps: number[][] }
  return fromRows(rows).map((manifest, at) => {
    const numbers = stamps[at] ?? []
    return { manifest, stamp: [numbers.slice(0, 5), numbers.slice(5)] as unknown as BackupStamp }
  })
}

/** With the SHA-256 of what follows: who finds it can rely on the form of that. */
function headOf(body: Uint8Array, bytes: number, version: string): string {
  return JSON.stringify({ format: FORMAT, version, bytes, sha256: sha256Of(body) })
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
