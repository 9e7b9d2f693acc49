import type { Context } from '../../context.js'
import { writeAttestation } from '../../repository/keyring/attestation.js'
import type { Epoch } from '../../repository/keys/epoch.js'
import type { SourceRoom } from '../../repository/types.js'
import { hostSigner } from '../sealing/host-keys.js'
import { register } from '../sealing/sealing-for.js'
import type { Survey } from '../survey.js'
import { keyringOf, loadKeyring } from '../trust/keyring-of.js'

/**
 * Writes down in the copy which lines of epochs came with its backups: anybody who may write there can put a line of his own
 * beside them, and only what a copy attests counts.
 * @returns the key that the attestation is signed with, where the copy has keys of its own and they do not vouch for it
 */
export async function attestLines(
  context: Context,
  { origin, target }: { origin: SourceRoom; target: SourceRoom },
  found: Survey,
): Promise<string | null> {
  const here = await keyringOf(context, origin.repository)
  const sealedTo = new Set(found.manifests.flatMap(({ encryption }) => encryption?.epoch ?? []))
  const lines = [here.own, ...(await here.linesOf(origin.name))]
  const used = lines.filter(line => line.some(({ id }) => sealedTo.has(id)))
  const there = await loadKeyring(context, target.repository, [])
  const missing = used.filter(line => line.some(({ repository }) => repository !== target.repository.id))
  const counting = (await there.linesOf(target.name)).flat()
  const unattested = missing.filter(line => !line.some(({ id }) => counting.some(epoch => epoch.id === id)))
  if (unattested.length === 0) return null
  const signer = await hostSigner(context)
  const current = there.own.at(-1)
  if (current !== undefined) await register(context, target.repository, signer, { epoch: current, keys: undefined })
  for (const [line] of unattested) if (line !== undefined) await attest(context, target, line, signer)
  const after = await loadKeyring(context, target.repository, [])
  const counted = (await after.linesOf(target.name)).flat()
  if (unattested.every(line => line.some(({ id }) => counted.some(epoch => epoch.id === id)))) return null
  if (current !== undefined && !(await after.vouchesFor(signer.id))) return signer.id
  context.warn(
    `${target.name}: another host attested the copies in ${target.repository.location} first, so what this one copies does not count there: pin its epochs in the configuration (trusted_epochs)`,
  )
  return null
}

async function attest(
  context: Context,
  { repository, name: source }: SourceRoom,
  line: Epoch,
  signer: Awaited<ReturnType<typeof hostSigner>>,
): Promise<void> {
  const { host } = context
  const now = context.now()
  await writeAttestation(repository.storage, { repository: repository.id, source, line, host, now }, signer)
}
