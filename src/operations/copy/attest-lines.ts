import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { attesterOf, attests, readAttestations, writeAttestation } from '../../repository/keyring/attestation.js'
import type { Keyring } from '../../repository/keyring/keyring.js'
import type { Epoch } from '../../repository/keys/epoch.js'
import type { Repository, SourceRoom } from '../../repository/types.js'
import type { CopyReport } from '../results.js'
import { type HostSigner, hostSigner, passingSigner } from '../sealing/host-keys.js'
import { register } from '../sealing/sealing-for.js'
import type { Survey } from '../survey.js'
import { keyringOf, loadKeyring } from '../trust/keyring-of.js'
import { letIn } from '../trust/let-in.js'

/**
 * Writes down in the copy which lines of epochs came with its backups: anybody who may write there can put a line of his own
 * beside them, and only what a copy attests counts.
 * @returns why the copies do not count there yet; null where they do
 */
export async function attestLines(
  context: Context,
  { origin, target }: { origin: SourceRoom; target: SourceRoom },
  found: Survey,
): Promise<Unattested | null> {
  const { repository } = target
  const here = await keyringOf(context, origin.repository)
  const sealedTo = new Set(found.manifests.flatMap(({ encryption }) => encryption?.epoch ?? []))
  const lines = [here.own, ...(await here.linesOf(origin.name))].filter(line => line.some(({ id }) => sealedTo.has(id)))
  const foreign = lines.filter(([first]) => first?.repository !== repository.id)
  const missing = async () => {
    const there = await loadKeyring(context, repository, [])
    const counting = new Set((await there.attestedLines(target.name)).flat().map(({ id }) => id))
    return { there, left: foreign.filter(line => !line.some(({ id }) => counting.has(id))) }
  }
  const before = await missing()
  if (before.left.length === 0) return null
  const current = before.there.own.at(-1)
  const known = await signerOrNone(context)
  // Where the copy has no keys of its own the first word counts, whoever gives it.
  const signer = known ?? (current === undefined ? passingSigner() : undefined)
  if (signer === undefined) return withoutState
  if (current !== undefined) await register(context, repository, signer, { epoch: current, keys: undefined })
  await attestAll(context, target, before.left, signer)
  const { there, left } = await missing()
  if (left.length === 0) return null
  return current !== undefined && !(await there.vouchesFor(signer.id))
    ? unvouched(there, repository, signer.id)
    : notFirst
}

/** Why copies do not count where they are, and what to do. */
type Unattested = NonNullable<CopyReport['unattested']>

const withoutState: Unattested = {
  problem: 'the state directory cannot be used, so nothing attests the keys that came with the copies',
  hint: 'name another one with --state DIR, and run it again',
}
const notFirst: Unattested = {
  problem: 'another host has attested other keys for these copies',
  hint: 'find out who did; to count these all the same, pin their epoch in the configuration (trusted_epochs): nexus-backup keys list',
}

async function unvouched(keyring: Keyring, repository: Repository, signer: string): Promise<Unattested> {
  const { problem, remedy } = await letIn(keyring, repository, { signer, source: undefined, whose: 'this host' })
  return { problem: `this host attests the copies with the key ${signer}, ${problem}`, hint: remedy }
}

async function signerOrNone(context: Context): Promise<HostSigner | undefined> {
  try {
    return await hostSigner(context)
  } catch (error) {
    if (error instanceof NexusError && error.code === 'state_unusable') return undefined
    throw error
  }
}

/**
 * Makes the lines that count without keys of its own count with them: before a repository that holds copies gets an epoch, which
 * then must vouch for who attests.
 */
export async function attestCounted(context: Context, repository: Repository, signer: HostSigner): Promise<void> {
  const keyring = await loadKeyring(context, repository, [])
  for (const source of await repository.sources()) {
    await attestAll(context, repository.source(source), await keyring.linesOf(source), signer)
  }
}

/** What this host has said already, and does not count yet, is not said again with every run. */
async function attestAll(
  context: Context,
  { repository, name: source }: SourceRoom,
  lines: readonly (readonly Epoch[])[],
  signer: HostSigner,
): Promise<void> {
  const { storage, id } = repository
  const said = lines.length === 0 ? [] : await readAttestations(storage, id, source)
  for (const line of lines) {
    const [first] = line
    if (first === undefined || said.some(one => attesterOf(one) === signer.id && attests(one, line))) continue
    const { host } = context
    await writeAttestation(storage, { repository: id, source, line: first, host, now: context.now() }, signer)
  }
}
