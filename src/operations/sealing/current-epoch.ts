import type { Context } from '../../context.js'
import type { NexusError } from '../../errors.js'
import type { Epoch } from '../../repository/keys/epoch.js'
import { type EpochPin, readCurrentEpoch } from '../../repository/keys/key-room.js'
import type { Repository } from '../../repository/types.js'
import { keptOver } from '../keys/kept-over.js'
import { warnOnce } from '../trust/warn-once.js'

/**
 * The epoch that new backups are sealed to, with what this host knows of it; damage that stops nothing is said.
 * @returns undefined where the repository has no keys of its own
 * @throws NexusError damage as `readCurrentEpoch` does
 */
export function readCurrent(
  context: Pick<Context, 'stateDirectory' | 'warn'>,
  repository: Repository,
  pin: EpochPin | undefined,
): Promise<Epoch | undefined> {
  const { id, location, trustedEpochs: pinned } = repository
  const onDamage = (error: NexusError) => warnOnce(context, `${location}: ${error.message}`)
  return readCurrentEpoch(keptOver(context, repository), id, { pin, pinned, onDamage })
}
