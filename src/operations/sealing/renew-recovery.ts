import type { Context } from '../../context.js'
import { messageOf, NexusError } from '../../errors.js'
import { isKept, renewRecovery } from '../../repository/root-renewal.js'
import type { Repository } from '../../repository/types.js'

/**
 * Makes sure that the recover.mjs in a repository opens what is encrypted there; one that nobody may replace, or whose
 * SHA256SUMS is damaged, stays, and that is said.
 */
export async function renewRecoveryOf(
  context: Pick<Context, 'warn'>,
  { storage, location }: Repository,
): Promise<void> {
  try {
    await renewRecovery(storage)
  } catch (error) {
    const stays =
      isKept(error) || (error instanceof NexusError && (error.kind === 'damage' || error.kind === 'not-found'))
    if (!stays) throw error
    context.warn(
      `${location} keeps the recover.mjs that it has, which may be too old to open encrypted backups (${messageOf(error)}); keep the one of this program with the key`,
    )
  }
}
