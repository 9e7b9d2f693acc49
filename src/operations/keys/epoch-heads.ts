import type { Context } from '../../context.js'
import { type Epoch, follows } from '../../repository/keys/epoch.js'
import { readEpochs } from '../../repository/keys/key-room.js'
import type { Repository } from '../../repository/types.js'
import { currentOrNone } from './repository-keys.js'

/**
 * The last epoch of each line in a repository: of its own, and of those that came with copies of other repositories. Who
 * opens one of them opens all before it. Empty where nothing is encrypted.
 * @throws NexusError damage, also when its own do not follow what this host knows
 */
export async function epochHeads(context: Context, repository: Repository): Promise<Epoch[]> {
  const { storage, id } = repository
  const own = await currentOrNone(context, repository)
  const all = await readEpochs(storage)
  const last = all.filter(epoch => !all.some(later => follows(later, epoch)))
  const others = last.filter(epoch => epoch.repository !== id)
  return own === undefined ? others : [own, ...others]
}
