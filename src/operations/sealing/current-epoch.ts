import type { Context } from '../../context.js'
import type { NexusError } from '../../errors.js'
import type { Epoch } from '../../repository/keys/epoch.js'
import { type EpochPin, readCurrentLine } from '../../repository/keys/key-room.js'
import type { Repository } from '../../repository/types.js'
import { keptOver } from '../keys/kept-over.js'
import { warnOnce } from '../trust/warn-once.js'

/**
 * The repository's own epochs up to the one that new backups are sealed to, with what this host knows of them; damage that
 * stops nothing is said.
 * @returns none where the repository has no keys of its own
 * @throws NexusError damage as `readCurrentLine` of the repository's keys does
 */
export function readLine(
  context: Pick<Context, 'stateDirectory' | 'warn'>,
  repository: Repository,
  pin: EpochPin | undefined,
): Promise<Epoch[]> {
  const { id, location, trustedEpochs: pinned } = repository
  const onDamage = (error: NexusError) => warnOnce(context, `${location}: ${error.message}`)
  return readCurrentLine(keptOver(context, repository), id, { pin, pinned, onDamage })
}

/** The last of them; undefined where the repository has no keys of its own. @throws NexusError as `readLine` does */
export async function readCurrent(...known: Parameters<typeof readLine>): Promise<Epoch | undefined> {
  return (await readLine(...known)).at(-1)
}
