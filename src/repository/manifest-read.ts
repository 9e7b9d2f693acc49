import { createHash } from 'node:crypto'
import * as v from 'valibot'
import { messageOf, NexusError } from '../errors.js'
import { parseOutsideJson } from './json.js'
import { checksumsFile, isBackupId, isPartName, manifestFile, quoted, typeOfId } from './layout.js'
import { FORMAT, type Manifest, manifestSchema } from './manifest.js'
import { sealedSuffix } from './sealed/sealed-layout.js'

/**
 * Bytes a manifest may have. Lists of files lie in a part of their own; what is long in a manifest are the results of
 * checks (up to 100 kB each) and copies of configuration files (up to 256 KiB).
 */
export const manifestLimit = 8 * 1024 * 1024
/** Members of its arrays and objects: the most that its fields may have, and some more. */
const memberLimit = 150_000

/**
 * A manifest's bytes, believed only after every rule held; unknown fields are kept.
 * @param id the directory it lies in
 * @param source the room's name
 * @throws NexusError damage, with the first broken rule
 */
export function checkManifest(bytes: Uint8Array, id: string, source: string): Manifest {
  if (bytes.byteLength > manifestLimit) throw damaged(id, `it has more than ${manifestLimit} bytes`)
  const manifest = validated(parsed(bytes, id), id)
  const problem =
    identityProblem(manifest, id, source) ??
    partsProblem(manifest) ??
    imageProblem(manifest) ??
    encryptionProblem(manifest)
  if (problem) throw damaged(id, problem)
  return manifest
}

/**
 * Compares a manifest with the SHA256SUMS beside it: its own digest, and exactly its parts with their digests.
 * @throws NexusError damage
 */
export function checkAgainstSums(manifest: Manifest, sums: ReadonlyMap<string, string>, id: string): void {
  const names = new Set([manifestFile, ...manifest.parts.map(part => part.name)])
  const missing = [...names].find(name => !sums.has(name))
  if (missing) throw damaged(id, `${checksumsFile} says nothing of ${quoted(missing)}`)
  const unknown = [...sums.keys()].find(name => !names.has(name))
  if (unknown) throw damaged(id, `${checksumsFile} names ${quoted(unknown)}, which the manifest does not know`)
  const differing = manifest.parts.find(part => sums.get(part.name) !== part.sha256)
  if (differing) throw damaged(id, `the SHA-256 of ${quoted(differing.name)} differs from ${checksumsFile}`)
}

/** Throws `damage` unless the manifest's bytes have the digest that SHA256SUMS gives. Done before they are read. */
export function checkManifestDigest(bytes: Uint8Array, sums: ReadonlyMap<string, string>, id: string): void {
  const actual = createHash('sha256').update(bytes).digest('hex')
  if (sums.get(manifestFile) !== actual) throw damaged(id, `its SHA-256 differs from ${checksumsFile}`)
}

function parsed(bytes: Uint8Array, id: string): unknown {
  try {
    return parseOutsideJson(bytes, memberLimit)
  } catch (cause) {
    throw damaged(id, messageOf(cause), cause)
  }
}

function validated(value: unknown, id: string): Manifest {
  const format = typeof value === 'object' && value !== null && 'format' in value ? value.format : undefined
  if (typeof format === 'number' && format !== FORMAT) {
    throw new NexusError(
      'damage',
      'manifest_format_unknown',
      `the manifest of ${id} has format ${format}, which this version does not understand`,
      {
        hint: 'use the version of nexus-backup that wrote it, or a newer one',
      },
    )
  }
  const result = v.safeParse(manifestSchema, value, { abortEarly: true })
  if (result.success) return result.output
  const [issue] = result.issues
  throw damaged(id, `${quoted(v.getDotPath(issue) ?? 'the whole')} is not as it must be: ${quoted(issue.message)}`)
}

function identityProblem(manifest: Manifest, id: string, source: string): string | undefined {
  if (manifest.id !== id) return `it calls itself ${quoted(manifest.id)}`
  if (manifest.source !== source) return `it belongs to source ${quoted(manifest.source)}`
  if (manifest.type !== typeOfId(id)) return `its type ${manifest.type} is not that of its id`
  if (manifest.type === 'full') return manifest.parent === null ? undefined : 'a full backup names a parent'
  if (manifest.parent === null) return `its type is ${manifest.type} but it names no parent`
  if (!isBackupId(manifest.parent) || manifest.parent === id) return `${quoted(manifest.parent)} cannot be its parent`
  return undefined
}

function partsProblem(manifest: Manifest): string | undefined {
  const names = new Set<string>()
  for (const { name } of manifest.parts) {
    if (!isPartName(name)) return `${quoted(name)} cannot be the name of a part`
    if (names.has(name)) return `part ${quoted(name)} stands in it twice`
    names.add(name)
  }
  return undefined
}

/** What is sealed does not stand open beside it, and what is open is not missing; sealed parts carry it in their names. */
function encryptionProblem({ encryption, digest_seed, image_digest, parts }: Manifest): string | undefined {
  const isSealed = encryption !== undefined
  if ([digest_seed, image_digest].some(value => (value === null) !== isSealed))
    return 'its digests are not as they must be'
  const differing = parts.find(({ name }) => name.endsWith(sealedSuffix) !== isSealed)
  return differing === undefined ? undefined : `part ${quoted(differing.name)} is not as the others are`
}

function imageProblem(manifest: Manifest): string | undefined {
  const lists = manifest.parts.filter(({ role }) => role === 'tree').length
  if (lists !== (manifest.tree === undefined ? 0 : 1)) return 'its parts do not agree with what it says of its tree'
  return manifest.tree === undefined ? filesProblem(manifest) : treeProblem(manifest, manifest.tree)
}

/** The entries themselves are checked by who reads them: they must come to these counts. */
function treeProblem(manifest: Manifest, tree: NonNullable<Manifest['tree']>): string | undefined {
  if (manifest.files.length > 0) return 'it lists files beside its tree'
  if (tree.files > tree.entries) return 'its tree has more files than entries'
  const { type, blocks_stored: stored, blocks_total: total } = manifest
  return type === 'full' && stored !== total ? 'a full backup does not hold every block' : undefined
}

function filesProblem(manifest: Manifest): string | undefined {
  const paths = new Set<string>()
  let bytes = 0
  let blocks = 0
  for (const { path, size, block_size: blockSize } of manifest.files) {
    if (paths.has(path)) return `file ${quoted(path)} stands in it twice`
    paths.add(path)
    bytes += size
    blocks += Math.ceil(size / blockSize)
    if (bytes > Number.MAX_SAFE_INTEGER) return 'its files are larger together than can be'
  }
  if (blocks !== manifest.blocks_total) return `its files have ${blocks} blocks, not ${manifest.blocks_total}`
  if (manifest.type === 'full' && manifest.blocks_stored !== blocks) return 'a full backup does not hold every block'
  return undefined
}

function damaged(id: string, problem: string, cause?: unknown): NexusError {
  return new NexusError('damage', 'manifest_damaged', `the manifest of ${id} is damaged: ${problem}`, { cause })
}
