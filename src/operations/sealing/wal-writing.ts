import { basename } from 'node:path'
import type { EncryptionSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import type { Epoch } from '../../repository/keys/epoch.js'
import { isVouchedFor, readHost } from '../../repository/keys/host-file.js'
import { distrustFile, vouchDirectory } from '../../repository/keys/key-layout.js'
import type { Repository } from '../../repository/types.js'
import type { WalSealing } from '../../repository/wal/wal-seal.js'
import { putBackKeys } from '../keys/kept-keys.js'
import { shellQuoted } from '../shell.js'
import { keyringOf } from '../trust/keyring-of.js'
import { letIn } from '../trust/let-in.js'
import { readLine } from './current-epoch.js'
import { type HostSigner, hostSigner, readPin, walIdentity } from './host-keys.js'
import { assertSamePlace } from './known-places.js'
import { notEncrypted, register } from './sealing-for.js'

/**
 * What files of the log are sealed and signed with; null for a repository that is not encrypted.
 * @throws NexusError refused `encryption_missing` when the configuration wants encryption and the repository has none,
 *   `wal_unsigned` where files must be signed and the state directory, which holds this host's key, cannot be used; damage
 *   `repository_replaced`
 */
export async function walSealing(
  context: Context,
  repository: Repository,
  wanted: EncryptionSettings | undefined,
): Promise<WalSealing | null> {
  await orUnknown(assertSamePlace(context, repository))
  const line = await lineKept(context, repository)
  const current = line.at(-1)
  if (current === undefined) {
    if (wanted !== undefined) throw notEncrypted(repository)
    return null
  }
  const identity = (await orUnknown(walIdentity(context, repository.id))) ?? null
  const signer = (await orUnknown(hostSigner(context))) ?? null
  if (signer !== null) await introduce(context, repository, signer, line)
  else if (line.some(({ unsigned_wal: reach }) => reach !== undefined)) throw unsignable(context, repository)
  return { epoch: current.id, sealingKey: current.sealing_key, identity, signer }
}

/** Leaves the public half of this host's key in the repository. Its WAL counts for nothing where it lost its state, never took a backup, or is distrusted. */
async function introduce(
  context: Context,
  repository: Repository,
  signer: HostSigner,
  line: readonly Epoch[],
): Promise<void> {
  const { storage } = repository
  const current = line.at(-1)
  if (current === undefined) return
  await register(context, repository, signer, { epoch: current, keys: undefined })
  const host = await readHost(storage, signer.id)
  const words = (await storage.list(vouchDirectory(signer.id))).map(({ name }) => name)
  const isVouched = host !== undefined && (await isVouchedFor(storage, host, line.toReversed()))
  const isSilent = line.every(({ id, distrusted }) => {
    return distrusted?.[signer.id] === undefined && !words.includes(basename(distrustFile(signer.id, id)))
  })
  if (isVouched && isSilent) return
  const keyring = await keyringOf(context, repository)
  if (await keyring.vouchesFor(signer.id)) return
  const { problem, remedy } = await letIn(keyring, repository, {
    signer: signer.id,
    source: undefined,
    whose: 'this user',
  })
  context.warn(`this host signs its WAL with the key ${signer.id}, ${problem}: recovery stops before it; ${remedy}`)
}

/** Stored without a signature it would be refused when it is needed: the server keeps it until this is put right. */
function unsignable({ stateDirectory, operator }: Context, { location }: Repository): NexusError {
  return new NexusError(
    'refused',
    'wal_unsigned',
    `${location} wants its WAL signed, and the key of this host in ${stateDirectory} cannot be used`,
    {
      hint: `as root, give the state directory to the server's user: chown -R ${operator.user} ${shellQuoted(stateDirectory)}`,
    },
  )
}

/**
 * The repository's own epochs, up to the one that counts; where it is not the one that this host knows, what was kept of
 * the keys is put back first.
 */
async function lineKept(context: Context, repository: Repository): Promise<readonly Epoch[]> {
  const pin = await orUnknown(readPin(context, repository.id))
  const known = () => readLine(context, repository, pin)
  try {
    return await known()
  } catch (error) {
    if (!(error instanceof NexusError) || error.code !== 'keys_damaged') throw error
    if (!(await putBackKeys(context, repository))) throw error
    return known()
  }
}

/** The server's user may not be let into the state directory; `pitr archive` works without it. */
async function orUnknown<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof NexusError && error.code === 'state_unusable') return undefined
    throw error
  }
}
