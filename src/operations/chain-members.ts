import { NexusError } from '../errors.js'
import type { ChainMember, StoredPart } from '../image/chain.js'
import { listedFiles } from '../image/file-layout.js'
import { checkTree, loadLayout, type TreeCounts } from '../image/tree/load-layout.js'
import type { VerifiedMember } from '../image/verify-chain.js'
import { indexById, parentOf } from '../policy/chains.js'
import type { Manifest, ManifestPart } from '../repository/manifest.js'
import { type OpeningReader, openingReader } from '../repository/sealed/opening-reader.js'
import { plainSize } from '../repository/sealed/sealed-layout.js'
import type { SealingKey } from '../repository/sealed/sealing-writer.js'
import type { SequentialReader } from '../repository/storage/storage.js'
import type { SourceRoom } from '../repository/types.js'
import type { OpenedBackup } from './sealing/open-backup.js'

/** Manifests by id. */
export type Manifests = ReadonlyMap<string, Manifest>

/**
 * The chain that ends in `manifest`, full first.
 *
 * @throws NexusError `damage` when a parent is missing or is not older than its child
 */
export function chainOf(manifest: Manifest, manifests: Manifests): Manifest[] {
  const chain = [manifest]
  for (let member = manifest; member.type !== 'full'; ) {
    const parent = member.parent === null ? undefined : manifests.get(member.parent)
    if (parent === undefined || parent.sequence >= member.sequence) {
      const problem = parent === undefined ? 'missing or damaged' : 'not older'
      throw new NexusError('damage', 'chain_broken', `${manifest.id} needs ${member.parent}, which is ${problem}`, {
        hint: 'nexus-backup list --all shows what is there; choose another backup',
      })
    }
    chain.unshift(parent)
    member = parent
  }
  return chain
}

/** Ids of a backup and of what it stands on, as far as that is among `manifests`, newest first. */
export function ancestryOf(id: string, manifests: readonly Manifest[]): string[] {
  const byId = indexById(manifests)
  const ids = new Set<string>()
  for (let member = byId.get(id); member !== undefined && !ids.has(member.id); member = parentOf(member, byId)) {
    ids.add(member.id)
  }
  return [...ids]
}

/** A backup as the block engine reads it. @throws NexusError `damage` when its manifest does not name all its parts */
export function memberOf(room: SourceRoom, opened: OpenedBackup): ChainMember {
  const { manifest } = opened
  const files = listedFiles(manifest.files)
  const layout = manifest.tree === undefined ? async () => files : () => loadLayout(...treeArguments(room, opened))
  return {
    id: manifest.id,
    digest: { algorithm: manifest.digest_algorithm, seed: manifest.digest_seed },
    blocks: manifest.blocks_total,
    layout,
    frames: partOf(room, opened, ({ role }) => role === 'image' || role === 'blocks'),
    index: partOf(room, opened, ({ role }) => role === 'index'),
  }
}

/** The same for a verify of the whole tree that stands on a full: of a tree image, the list of entries is checked too. */
export function verifiedMemberOf(room: SourceRoom, opened: OpenedBackup, children: number): VerifiedMember {
  const { manifest } = opened
  const { parent, image_digest: imageDigest } = manifest
  const member = memberOf(room, opened)
  const layout = manifest.tree === undefined ? member.layout : () => checkTree(...treeArguments(room, opened))
  return { ...member, layout, parent, children, imageDigest }
}

/** What `loadTree` needs for a backup's entries. @throws NexusError `damage` when it is no tree image */
export function treePartOf(room: SourceRoom, opened: OpenedBackup): [StoredPart, TreeCounts] {
  const [part, counts] = treeArguments(room, opened)
  return [{ ...part, name: `${opened.manifest.id}/${part.name}` }, counts]
}

function treeArguments(room: SourceRoom, opened: OpenedBackup): [StoredPart, TreeCounts] {
  return [partOf(room, opened, ({ role }) => role === 'tree'), treeCountsOf(opened.manifest)]
}

/** What a manifest says of its tree. */
export function treeCountsOf({ kind, tree, blocks_total: rows, bytes_source: bytes }: Manifest): TreeCounts {
  const { block_size: blockSize = 0, entries = 0, files = 0 } = tree ?? {}
  return { blockSize, entries, files, rows, bytes, plain: kind !== 'files' }
}

function partOf(room: SourceRoom, opened: OpenedBackup, wanted: (part: ManifestPart) => boolean): StoredPart {
  const { manifest, key } = opened
  const found = manifest.parts.find(wanted)
  if (found === undefined) throw new NexusError('damage', 'part_missing', `${manifest.id} does not name all its parts`)
  const open = () => room.openPart(manifest.id, found.name)
  if (key === null) return { ...found, open }
  // Sizes that no sealed file has are told when it is opened.
  const bytes = plainSize(found.bytes) ?? found.bytes
  return { ...found, bytes, open: async () => openSealed(await open(), key.part(found.name), found.name) }
}

async function openSealed(reader: SequentialReader, sealing: SealingKey, name: string): Promise<OpeningReader> {
  try {
    return await openingReader(reader, sealing, name)
  } catch (error) {
    await reader.close()
    throw error
  }
}
