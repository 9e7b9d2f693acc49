import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { recorded } from '../../journal/recorded.js'
import type { Journal } from '../../journal/types.js'
import { openRepository } from '../../repository/open.js'
import { recoveryTrust } from '../../repository/root-trust.js'
import type { Repository } from '../../repository/types.js'
import { renewNow, signRecoveryOf } from '../sealing/renew-recovery.js'
import { keyringOf } from '../trust/keyring-of.js'
import type { KeysRecoveryResult } from './results.js'

/**
 * Puts this program's recover.mjs and RECOVER.txt into a repository's root, unless those there are of a later version, and
 * signs them where it is encrypted and this host is vouched for. Needs no key.
 * @throws NexusError what replacing a file throws where the store lets nobody
 */
export async function renewRoot(
  context: Context,
  journal: Journal,
  { repository: settings, dryRun }: { repository: RepositorySettings; dryRun: boolean },
): Promise<KeysRecoveryResult> {
  const repository = await openRepository(settings)
  if (dryRun) return resultOf(context, repository, { renewed: false, signed: false })
  const subject = { operation: 'keys recovery', source: null, repository: repository.location }
  return recorded(context, journal, subject, async () => {
    const renewed = await renewNow(context, repository)
    return resultOf(context, repository, { renewed, signed: await signRecoveryOf(context, repository) })
  })
}

async function resultOf(
  context: Context,
  repository: Repository,
  done: Pick<KeysRecoveryResult, 'renewed' | 'signed'>,
): Promise<KeysRecoveryResult> {
  const { status, edition, sha256 } = await recoveryTrust(repository, await keyringOf(context, repository))
  return { command: 'keys recovery', repository: repository.location, status, edition, sha256, ...done }
}
