import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { recorded } from '../../journal/recorded.js'
import type { Journal } from '../../journal/types.js'
import { type Distrust, readDistrust } from '../../repository/keys/distrust-file.js'
import type { Epoch } from '../../repository/keys/epoch.js'
import { formatVouch, type HostDocument, isVouchedFor, readHost } from '../../repository/keys/host-file.js'
import { vouchDirectory, vouchFile } from '../../repository/keys/key-layout.js'
import { readOwnEpochs } from '../../repository/keys/key-room.js'
import { quoted } from '../../repository/layout.js'
import { openRepository } from '../../repository/open.js'
import type { Repository } from '../../repository/types.js'
import { once } from '../sealing/sealing-for.js'
import { currentOf } from './repository-keys.js'
import type { KeysTrustResult } from './results.js'

/** @throws NexusError damage `keys_damaged`, which names the file that is in the way */
async function assertVouched({ storage, location }: Repository, host: HostDocument, epoch: Epoch): Promise<void> {
  try {
    await isVouchedFor(storage, host, [epoch])
  } catch (error) {
    if (!(error instanceof NexusError) || error.kind !== 'damage') throw error
    throw new NexusError(error.kind, error.code, error.message, {
      hint: `somebody put it there: move it away and run this again, or begin a new epoch (nexus-backup keys rotate --repo ${location}) and run it then`,
      cause: error,
    })
  }
}

/** A key that no host has registered. */
export function hostMissing(location: string, id: string): NexusError {
  return new NexusError('not-found', 'host_not_found', `no host has registered the key ${id} in ${location}`, {
    hint: `see which ones have: nexus-backup keys list --repo ${location}`,
  })
}

function distrusted(location: string, { id, host }: HostDocument, { since }: Distrust): NexusError {
  const message = `the key ${id} of ${quoted(host)} is distrusted in ${location} since ${since}, for good`
  return new NexusError('refused', 'host_distrusted', message, {
    hint: `if ${quoted(host)} signs with it, move keys/signing-key out of its state directory: its next create makes a new one, which keys trust can vouch for`,
  })
}

/**
 * Gives the current epoch's word that a signing key is that of a host, which only who opens the epoch can do.
 * @throws NexusError not-found for a key that no host has registered, refused when no key here opens the repository or the
 *   key is distrusted
 */
export async function trustHost(
  context: Context,
  journal: Journal,
  { repository: settings, id, dryRun }: { repository: RepositorySettings; id: string; dryRun: boolean },
): Promise<KeysTrustResult> {
  const repository = await openRepository(settings)
  const { storage, location } = repository
  const subject = { operation: 'keys trust', source: null, repository: location }
  return recorded(context, journal, subject, async () => {
    const current = await currentOf(context, repository)
    const host = await readHost(storage, id)
    if (host === undefined) throw hostMissing(location, id)
    const names = new Set((await storage.list(vouchDirectory(id))).map(({ name }) => name))
    const word = await readDistrust(storage, { host, names }, await readOwnEpochs(storage, repository.id))
    if (word !== undefined) throw distrusted(location, host, word)
    const keys = await context.keys.open(storage, current.id)
    const name = vouchFile(id, current.id)
    if (!dryRun) await once(storage.writeOnce(name, formatVouch(host, current.id, keys, context.now())))
    // What somebody else has put there first is no word for anybody.
    if (!dryRun) await assertVouched(repository, host, current)
    return { command: 'keys trust', repository: location, id, host: host.host }
  })
}
