import type { RepositorySettings } from '../config/settings.js'
import type { Context } from '../context.js'
import { clusterWindows } from './pitr/cluster-windows.js'
import type { PointsResult } from './results.js'
import { roomsOf } from './rooms.js'
import { passedOver } from './select.js'
import { survey } from './survey.js'
import { warnOnce } from './trust/warn-once.js'

/**
 * The times to which a source can be brought back, oldest first: every capture whose chain is here, whole and without
 * known damage. A cluster also has windows, in which every instant can be restored; its captures inside one are no points
 * of their own (design section 6, pitr).
 *
 * @throws NexusError not-found for a source without backups
 */
export async function points(
  context: Context,
  repositories: RepositorySettings[],
  source: string,
): Promise<PointsResult> {
  const found: { id: string; at: string }[] = []
  let isCluster = false
  for (const room of await roomsOf(repositories, source)) {
    const { manifests, broken, apart } = await survey(room, context, { cached: true })
    if (apart.length > 0) warnOnce(context, `${source}: ${passedOver(apart)}`)
    const restorable = manifests.filter(({ id }) => !broken.has(id))
    found.push(...restorable.map(({ id, captured_at }) => ({ id, at: captured_at })))
    isCluster ||= restorable.some(({ kind }) => kind === 'postgres')
  }
  found.sort((a, b) => Date.parse(a.at) - Date.parse(b.at))
  if (!isCluster) return { command: 'pitr points', source, points: found, windows: [] }
  const { windows, branches, marked, breaks, covered } = await clusterWindows(context, repositories, source)
  const outside = found.filter(({ id }) => !covered.has(id))
  const others = {
    ...(branches.length === 0 ? {} : { branches }),
    ...(marked.length === 0 ? {} : { of_damaged: marked }),
    ...(breaks.length === 0 ? {} : { breaks }),
  }
  return { command: 'pitr points', source, points: outside, windows, ...others }
}
