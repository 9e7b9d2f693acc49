import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { unsealedProblem } from '../../policy/unsealed.js'
import { type HostDocument, isVouchedFor, readHost } from '../../repository/keys/host-file.js'
import { lineOf } from '../../repository/keys/key-room.js'
import type { Manifest } from '../../repository/manifest.js'
import { isSignedBy } from '../../repository/sealed/sealed-manifest.js'
import type { Repository } from '../../repository/types.js'
import { chainOf } from '../chain-members.js'
import type { Selected } from '../select.js'

/** What is wrong with a manifest's signature, or the host that made it, for which no epoch may have vouched. */
export type Signed = { problem: string } | { host: HostDocument; isTrusted: boolean }

/** Who signed an encrypted backup. @param manifest as it is stored @throws NexusError damage of a file below `keys` */
export async function signedBy(
  { storage, id: repository }: Pick<Repository, 'storage' | 'id'>,
  manifest: Manifest,
  encryption: NonNullable<Manifest['encryption']>,
): Promise<Signed> {
  const host = await readHost(storage, encryption.signer)
  if (host === undefined) return { problem: `was signed with the key ${encryption.signer}, which nobody knows` }
  if (!isSignedBy(manifest, encryption, host.signing_key)) return { problem: 'its signature does not hold' }
  return { host, isTrusted: await isVouchedFor(storage, host, await lineOf(storage, encryption.epoch, repository)) }
}

/** Says that nobody has vouched for who signed a backup. */
export function warnOfStranger({ warn }: Pick<Context, 'warn'>, id: string, { host, id: signer }: HostDocument): void {
  warn(
    `${id} was signed by ${host} with the key ${signer}, for which nobody has vouched: nexus-backup keys trust ${signer}`,
  )
}

/**
 * Before a backup is restored: everybody who may write into the repository can seal to its public key, so only the
 * signature tells who made it. One that does not hold is damage; a stranger's is said, and so is a backup in plain where
 * it should not be.
 * @throws NexusError damage `manifest_forged`
 */
export async function assertSigned(
  context: Pick<Context, 'warn'>,
  { room, survey, manifest }: Selected,
): Promise<void> {
  const said = new Set<string>()
  for (const member of chainOf(manifest, new Map(survey.manifests.map(one => [one.id, one])))) {
    const { id, encryption } = member
    if (survey.unsealed.has(id)) context.warn(`${id} ${unsealedProblem}`)
    if (encryption === undefined) continue
    const signed = await signedBy(room.repository, member, encryption)
    if ('problem' in signed) throw forged(id, signed.problem)
    if (!signed.isTrusted && !said.has(signed.host.id)) warnOfStranger(context, id, signed.host)
    said.add(signed.host.id)
  }
}

function forged(id: string, problem: string): NexusError {
  return new NexusError('damage', 'manifest_forged', `the manifest of ${id} is not what was written: ${problem}`, {
    hint: 'somebody may have changed the repository: nexus-backup-recovery(7), suspected intruder',
  })
}
