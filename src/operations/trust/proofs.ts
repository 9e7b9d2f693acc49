import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import { partialPrefix } from '../../repository/layout.js'
import type { Manifest } from '../../repository/manifest.js'
import type { ProofKeeping } from '../../repository/proof-keeping.js'
import { type BackupProofs, outcomesOf, type ProofTrust } from '../../repository/proofs.js'
import type { Signer } from '../../repository/sealed/sealed-manifest.js'
import type { Proof, SourceRoom } from '../../repository/types.js'
import { hostSigner, knownHostSigner } from '../sealing/host-keys.js'
import { register } from '../sealing/sealing-for.js'
import { shellQuoted } from '../shell.js'
import { keyringOf } from './keyring-of.js'
import { letIn } from './let-in.js'
import { warnOnce } from './warn-once.js'

type Sealed = Pick<Manifest, 'id' | 'encryption'>

/** What proofs say of a source's backups. */
export interface KnownProofs {
  /** Those that count, oldest first, with what they say of earlier ones. */
  proofs: Proof[]
  /** Backups of which some proof cannot be read: it may have said anything. */
  doubtful: ReadonlySet<string>
}

/**
 * Reads the proofs of backups. In an encrypted repository, and of an encrypted copy, only those count that a host has signed
 * for which the keys vouch. What is damaged, not signed or of a time to come counts for nothing and is a warning: one
 * small file must not keep anybody from restoring.
 *
 * @param manifests the backups whose proofs are wanted
 */
export async function loadProofs(
  context: Pick<Context, 'now' | 'warn' | 'stateDirectory'>,
  room: SourceRoom,
  manifests: readonly Sealed[],
): Promise<KnownProofs> {
  const ids = new Set(manifests.map(({ id }) => id))
  const trust = await trustIn(context, room, manifests)
  const found = [...(await room.readProofs({ ids, now: context.now(), trust })).values()]
  warnOf(context, room, found)
  const unreadable = found.filter(({ unreadable: failed }) => failed.length > 0)
  return { proofs: outcomesOf(found), doubtful: new Set(unreadable.flatMap(({ names }) => names[0]?.id ?? [])) }
}

/** Keeps proofs, signed where only a signature makes them count. @param manifests of their backups */
export async function keepProofs(
  context: Context,
  room: SourceRoom,
  { proofs, manifests }: { proofs: readonly Proof[]; manifests: readonly Sealed[] },
): Promise<void> {
  if (proofs.length > 0) await room.keepProofs(proofs, await keepingIn(context, room, manifests))
}

/**
 * Keeps a proof of what a restore found. Where only a signature makes it count and the keys do not vouch for this host,
 * nothing is kept: a machine that only reads is to make no key and ask for nothing.
 */
export async function keepProofInPassing(
  context: Context,
  room: SourceRoom,
  { proof, manifest }: { proof: Proof; manifest: Sealed },
): Promise<void> {
  const keyring = await keyringOf(context, room.repository)
  const signer = async () => {
    const known = await knownHostSigner(context)
    return known !== undefined && (await keyring.keyOf(room.name, known.id)) !== undefined ? known : null
  }
  await room.keepProofs([proof], { now: context.now(), trust: await trustIn(context, room, [manifest]), signer })
}

/**
 * Removes the proofs of backups that are gone and those that newer ones stand for. The caller holds the writer lock.
 * @param manifests that can be read
 */
export async function tidyProofs(context: Context, room: SourceRoom, manifests: readonly Sealed[]): Promise<void> {
  try {
    // Their names are enough: what lies in each of them would be a request more for every backup.
    const listed = await room.repository.storage.list(room.name)
    const ids = new Set(
      listed.map(({ name }) => (name.startsWith(partialPrefix) ? name.slice(partialPrefix.length) : name)),
    )
    await room.tidyProofs(ids, await keepingIn(context, room, manifests))
  } catch (error) {
    if (!(error instanceof NexusError) || error.kind === 'interrupted') throw error
    warnOnce(context, `${room.name}: old proofs could not be removed: ${messageOf(error)}; the next prune tries again`)
  }
}

async function keepingIn(context: Context, room: SourceRoom, manifests: readonly Sealed[]): Promise<ProofKeeping> {
  const trust = await trustIn(context, room, manifests)
  return { now: context.now(), trust, signer: () => vouchedSigner(context, room) }
}

async function trustIn(
  context: Pick<Context, 'warn' | 'stateDirectory'>,
  { name, repository }: SourceRoom,
  manifests: readonly Sealed[],
): Promise<ProofTrust> {
  const keyring = await keyringOf(context, repository)
  const sealed = new Set(manifests.flatMap(({ id, encryption }) => (encryption === undefined ? [] : [id])))
  return {
    repository: repository.id,
    source: name,
    isRequired: id => keyring.isEncrypted || sealed.has(id),
    keyOf: signer => keyring.keyOf(name, signer),
  }
}

/** What this host signs proofs with; null, with a warning that says why, where its word does not count. */
async function vouchedSigner(context: Context, { name, repository }: SourceRoom): Promise<Signer | null> {
  const keyring = await keyringOf(context, repository)
  try {
    const signer = await hostSigner(context)
    if ((await keyring.keyOf(name, signer.id)) !== undefined) return signer
    const why = `${name}: no proofs are kept: the keys of ${repository.location} do not vouch for this host's key ${signer.id}`
    const epoch = keyring.own.at(-1)
    if (epoch === undefined) {
      warnOnce(context, `${why}; proofs of encrypted copies come from the hosts that make the backups`)
      return null
    }
    await register(context, repository, signer, { epoch, keys: undefined })
    const { remedy } = await letIn(keyring, repository, { signer: signer.id, source: name, whose: 'this host' })
    warnOnce(context, `${why}; ${remedy}`)
  } catch (error) {
    if (!(error instanceof NexusError) || error.kind === 'interrupted') throw error
    warnOnce(context, `${name}: no proofs are kept: ${messageOf(error)}`)
  }
  return null
}

/** Files that are named one by one. */
const NAMED = 3

function warnOf(
  context: Pick<Context, 'warn'>,
  { name, repository }: SourceRoom,
  found: readonly BackupProofs[],
): void {
  const command = `nexus-backup verify ${shellQuoted(name)} --repo ${shellQuoted(repository.location)}`
  const renewed = `a new one takes its place with: ${command}`
  const unreadable = found.flatMap(proofs => proofs.unreadable)
  for (const { error } of unreadable.slice(0, NAMED)) {
    warnOnce(context, `${name}: ${error.message}; it counts for nothing, and ${renewed}`)
  }
  const more = unreadable.length - NAMED
  if (more > 0) warnOnce(context, `${name}: and ${more} more ${more === 1 ? 'proof' : 'proofs'} that cannot be read`)
  const unsigned = found.filter(proofs => proofs.unsigned.length > 0).length
  if (unsigned > 0) {
    const whose = unsigned === 1 ? 'a backup' : `${unsigned} backups`
    const what = `proofs of ${whose} are not signed by a host for which the keys of ${repository.location} vouch`
    warnOnce(context, `${name}: ${what}: they do not count; renew them with: ${command}`)
  }
  const count = found.reduce((sum, { toCome }) => sum + toCome, 0)
  if (count > 0) {
    const what = count === 1 ? 'proof is of a time to come and does' : 'proofs are of a time to come and do'
    warnOnce(context, `${name}: ${count} ${what} not count; ${renewed}`)
  }
}
