import { NexusError } from '../errors.js'
import type { ChainMember } from '../image/chain.js'
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

/** A backup as the block engine reads it. @throws NexusError `damage` when its manifest names no frames or no index */
export function memberOf(room: SourceRoom, manifest: Manifest): ChainMember {
  const part = (wanted: (part: ManifestPart) => boolean) => {
    const found = manifest.parts.find(wanted)
    if (found === undefined)
      throw new NexusError('damage', 'part_missing', `${manifest.id} does not name all its parts`)
    return { ...found, open: () => room.openPart(manifest.id, found.name) }
  }
  return {
    id: manifest.id,
    digest: { algorithm: manifest.digest_algorithm, seed: manifest.digest_seed },
    files: manifest.files,
    frames: part(({ role }) => role !== 'index'),
    index: part(({ role }) => role === 'index'),
  }
}

/** The same for a verify of the whole tree that stands on a full. */
export function verifiedMemberOf(room: SourceRoom, manifest: Manifest, children: number): VerifiedMember {
  const { parent, image_digest: imageDigest } = manifest
  return { ...memberOf(room, manifest), parent, children, imageDigest }
}
