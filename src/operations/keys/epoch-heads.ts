import type { Context } from '../../context.js'
import { type Epoch, follows } from '../../repository/keys/epoch.js'
import { currentEpoch, readEpochs, readOwnEpochs } from '../../repository/keys/key-room.js'
import type { Repository } from '../../repository/types.js'
import { readPin } from '../sealing/host-keys.js'

/**
 * The last epoch of each line in a repository: of its own, and of those that came with copies of other repositories. Who
 * opens one of them opens all before it. Empty where nothing is encrypted.
 * @throws NexusError damage, also when its own do not follow what this host knows
 */
export async function epochHeads(context: Context, { storage, id }: Repository): Promise<Epoch[]> {
  const own = currentEpoch(await readOwnEpochs(storage, id), await readPin(context, id))
  const all = await readEpochs(storage)
  const last = all.filter(epoch => !all.some(later => follows(later, epoch)))
  const others = last.filter(epoch => epoch.repository !== id)
  return own === undefined ? others : [own, ...others]
}
