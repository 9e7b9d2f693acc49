import { createHash } from 'node:crypto'
import { constants, createReadStream } from 'node:fs'
import { copyFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { errnoOf } from '../../errors.js'
import { fileReader } from '../../image/file-reader.js'
import { type LoadedTree, loadTree } from '../../image/tree/tree.js'
import { canonicalJson } from '../../repository/json.js'
import type { Manifest } from '../../repository/manifest.js'
import { treeCountsOf } from '../chain-members.js'
import type { OpenManifest } from '../sealing/open-backup.js'
import { inStateDirectory, shareState } from '../state-directory.js'
import { readStateFile, writeStateFile } from '../state-file.js'

const memorySchema = v.object({
  /** SHA-256 over the canonical JSON of the manifest as it is stored: a parent that was exchanged is not this one. */
  manifest: v.string(),
  digest_seed: v.string(),
  image_digest: v.string(),
  /** Of a tree's list of entries, which lies beside this. */
  tree: v.nullable(v.object({ bytes: v.number(), sha256: v.string() })),
})

/**
 * What the next backup needs of an encrypted one, in the state directory beside its digests: a host that holds only the
 * public half of the keys makes increments with it, and without it a full.
 */
export class ParentMemory {
  readonly #stateDirectory: string
  readonly #names: readonly string[]
  readonly #directory: string

  constructor(stateDirectory: string, names: readonly string[]) {
    this.#stateDirectory = stateDirectory
    this.#names = names
    this.#directory = join(stateDirectory, ...names)
  }

  /** Remembers a backup. @param treePath a file that holds its list of entries, which may be taken away */
  async store(stored: Manifest, opened: OpenManifest, treePath: string | null): Promise<void> {
    const memory: v.InferOutput<typeof memorySchema> = {
      manifest: fingerprint(stored),
      digest_seed: opened.digest_seed,
      image_digest: opened.image_digest,
      tree: null,
    }
    if (treePath !== null) {
      memory.tree = await measured(treePath)
      await inStateDirectory(this.#stateDirectory, this.#names, async directory => {
        const name = `${opened.id}.tree`
        await moved(treePath, directory.at(name))
        shareState(directory, name)
      })
    }
    await writeStateFile(this.#stateDirectory, this.#names, `${opened.id}.memory`, `${JSON.stringify(memory)}\n`)
  }

  /** The manifest with what was sealed of it that the next backup needs; undefined when this host does not remember it. */
  async recall(stored: Manifest): Promise<OpenManifest | undefined> {
    const memory = await this.#read(stored)
    if (memory === undefined) return undefined
    return { ...stored, digest_seed: memory.digest_seed, image_digest: memory.image_digest }
  }

  /** A backup's entries; undefined when this host does not remember them. */
  async tree(stored: Manifest): Promise<LoadedTree | undefined> {
    const memory = await this.#read(stored)
    if (memory?.tree == null) return undefined
    const path = this.#path(stored.id, 'tree')
    try {
      return await loadTree({ name: path, ...memory.tree, open: () => fileReader(path) }, treeCountsOf(stored))
    } catch {
      // Lost or damaged: only a memory.
      return undefined
    }
  }

  async #read(stored: Manifest): Promise<v.InferOutput<typeof memorySchema> | undefined> {
    const text = await readStateFile(this.#path(stored.id, 'memory'))
    const result = text === undefined ? undefined : v.safeParse(memorySchema, parsed(text))
    return result?.success && result.output.manifest === fingerprint(stored) ? result.output : undefined
  }

  #path(id: string, suffix: string): string {
    return join(this.#directory, `${id}.${suffix}`)
  }
}

/** Of a manifest as it is stored, or of one whose digests were recalled. */
function fingerprint(manifest: Manifest): string {
  const stored = manifest.encryption === undefined ? manifest : { ...manifest, digest_seed: null, image_digest: null }
  return createHash('sha256').update(canonicalJson(stored)).digest('hex')
}

async function measured(path: string): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of createReadStream(path)) {
    hash.update(chunk)
    bytes += chunk.length
  }
  return { bytes, sha256: hash.digest('hex') }
}

async function moved(from: string, to: string): Promise<void> {
  try {
    await rename(from, to)
  } catch (error) {
    if (errnoOf(error) !== 'EXDEV') throw error
    await rm(to, { force: true })
    await copyFile(from, to, constants.COPYFILE_EXCL)
    await rm(from, { force: true })
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
