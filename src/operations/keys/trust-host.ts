import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { NexusError } from '../../errors.js'
import { recorded } from '../../journal/recorded.js'
import type { Journal } from '../../journal/types.js'
import { formatVouch, readHost } from '../../repository/keys/host-file.js'
import { vouchFile } from '../../repository/keys/key-layout.js'
import { openRepository } from '../../repository/open.js'
import { once } from '../sealing/sealing-for.js'
import { currentOf } from './repository-keys.js'
import type { KeysTrustResult } from './results.js'

/**
 * Gives the current epoch's word that a signing key is that of a host, which only who opens the epoch can do.
 * @throws NexusError not-found for a key that no host has registered, refused when no key here opens the repository
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
    if (host === undefined) {
      throw new NexusError('not-found', 'host_not_found', `no host has registered the key ${id} in ${location}`, {
        hint: `see which ones have: nexus-backup keys list --repo ${location}`,
      })
    }
    const keys = await context.keys.open(storage, current.id)
    if (!dryRun)
      await once(storage.writeOnce(vouchFile(id, current.id), formatVouch(host, current.id, keys, context.now())))
    return { command: 'keys trust', repository: location, id, host: host.host }
  })
}
