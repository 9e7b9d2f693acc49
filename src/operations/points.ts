import type { RepositorySettings, SourceSettings } from '../config/settings.js'
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
 * @param sources for the directory of PostgreSQL's programs, where the source is configured
 * @throws NexusError not-found for a source without backups, damage when its proofs or a history file cannot be read,
 *   failed when pg_waldump of a cluster's version is missing
 */
export async function points(
  context: Context,
  repositories: RepositorySettings[],
  source: string,
  sources: readonly SourceSettings[] = [],
): Promise<PointsResult> {
  const found: { id: string; at: string }[] = []
  let isCluster = false
  for (const room of await roomsOf(repositories, source)) {
    const { manifests, broken, apart } = await survey(room, context)
    if (apart.length > 0) warnOnce(context, `${source}: ${passedOver(apart)}`)
    const restorable = manifests.filter(({ id }) => !broken.has(id))
    found.push(...restorable.map(({ id, captured_at }) => ({ id, at: captured_at })))
    isCluster ||= restorable.some(({ kind }) => kind === 'postgres')
  }
  found.sort((a, b) => Date.parse(a.at) - Date.parse(b.at))
  if (!isCluster) return { command: 'pitr points', source, points: found, windows: [] }
  const configured = sources.find(({ name }) => name === source)
  const binDirectory = configured?.kind === 'postgres' ? configured.binDirectory : null
  const { windows, branches, covered } = await clusterWindows(context, repositories, { source, binDirectory })
  const outside = found.filter(({ id }) => !covered.has(id))
  const others = branches.length === 0 ? {} : { branches }
  return { command: 'pitr points', source, points: outside, windows, ...others }
}
