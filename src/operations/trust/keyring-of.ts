import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import { Keyring } from '../../repository/keyring/keyring.js'
import type { Epoch } from '../../repository/keys/epoch.js'
import type { EpochPin } from '../../repository/keys/key-room.js'
import type { Repository } from '../../repository/types.js'
import { keptOver } from '../keys/kept-over.js'
import { readPin } from '../sealing/host-keys.js'
import { placeProblem } from '../sealing/known-places.js'
import { warnOnce } from './warn-once.js'

/** Keys do not change while a run reads: each opened repository has them read once. */
const keyrings = new WeakMap<Repository, Promise<Keyring>>()

/** Whose word counts in a repository, as far as this host and its configuration know. Needs no key and throws no damage. */
export function keyringOf(context: Pick<Context, 'stateDirectory' | 'warn'>, repository: Repository): Promise<Keyring> {
  const known = keyrings.get(repository) ?? loadKeyring(context, repository, [])
  keyrings.set(repository, known)
  return known
}

/** The same anew: for who has just written keys. @param also epochs that count beside those of the repository */
export async function loadKeyring(
  context: Pick<Context, 'stateDirectory' | 'warn'>,
  repository: Repository,
  also: readonly Epoch[],
): Promise<Keyring> {
  const { id, trustedEpochs: fingerprints } = repository
  const pins = new Map<string, Promise<EpochPin | undefined>>()
  const pin = (of: string) => {
    const known = pins.get(of) ?? orNone(context, readPin(context, of))
    pins.set(of, known)
    return known
  }
  const replaced = await orNone(context, placeProblem(context, repository))
  const keyring = await Keyring.load(keptOver(context, repository), id, { pin, fingerprints, also, replaced })
  for (const problem of keyring.problems) warnOnce(context, `${repository.location}: ${problem}`)
  return keyring
}

/** Who only reads may not be let into the state directory, and must not be kept out by what is damaged in it. */
async function orNone<T>(context: Pick<Context, 'warn'>, reading: Promise<T | undefined>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    if (!(error instanceof NexusError)) throw error
    if (error.code !== 'state_unusable') warnOnce(context, messageOf(error))
    return undefined
  }
}
