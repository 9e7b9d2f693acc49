import { NexusError } from '../errors.js'
import type { ChainMember, StoredPart } from '../image/chain.js'
import { listedFiles } from '../image/file-layout.js'
import { checkTree, loadLayout, type TreeCounts } from '../image/tree/load-layout.js'
import type { VerifiedMember } from '../image/verify-chain.js'
import type { Manifest, ManifestPart } from '../repository/manifest.js'
import type { SourceRoom } from '../repository/types.js'

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

/** A backup as the block engine reads it. @throws NexusError `damage` when its manifest does not name all its parts */
export function memberOf(room: SourceRoom, manifest: Manifest): ChainMember {
  const files = listedFiles(manifest.files)
  const layout = manifest.tree === undefined ? async () => files : () => loadLayout(...treeArguments(room, manifest))
  return {
    id: manifest.id,
    digest: { algorithm: manifest.digest_algorithm, seed: manifest.digest_seed },
    blocks: manifest.blocks_total,
    layout,
    frames: partOf(room, manifest, ({ role }) => role === 'image' || role === 'blocks'),
    index: partOf(room, manifest, ({ role }) => role === 'index'),
  }
}

/** The same for a verify of the whole tree that stands on a full: of a tree image, the list of entries is checked too. */
export function verifiedMemberOf(room: SourceRoom, manifest: Manifest, children: number): VerifiedMember {
  const { parent, image_digest: imageDigest } = manifest
  const member = memberOf(room, manifest)
  const layout = manifest.tree === undefined ? member.layout : () => checkTree(...treeArguments(room, manifest))
  return { ...member, layout, parent, children, imageDigest }
}

/** What `loadTree` needs for a backup's entries. @throws NexusError `damage` when it is no tree image */
export function treePartOf(room: SourceRoom, manifest: Manifest): [StoredPart, TreeCounts] {
  const [part, counts] = treeArguments(room, manifest)
  return [{ ...part, name: `${manifest.id}/${part.name}` }, counts]
}

function treeArguments(room: SourceRoom, manifest: Manifest): [StoredPart, TreeCounts] {
  const part = partOf(room, manifest, ({ role }) => role === 'tree')
  const { block_size: blockSize = 0, entries = 0, files = 0 } = manifest.tree ?? {}
  return [part, { blockSize, entries, files, rows: manifest.blocks_total, bytes: manifest.bytes_source }]
}

function partOf(room: SourceRoom, manifest: Manifest, wanted: (part: ManifestPart) => boolean): StoredPart {
  const found = manifest.parts.find(wanted)
  if (found === undefined) throw new NexusError('damage', 'part_missing', `${manifest.id} does not name all its parts`)
  return { ...found, open: () => room.openPart(manifest.id, found.name) }
}
