import type { RepositorySettings } from '../config/settings.js'
import type { Context } from '../context.js'
import type { PointsResult } from './results.js'
import { roomsOf } from './rooms.js'
import { survey } from './survey.js'

/**
 * The times to which a source can be brought back, oldest first: every capture whose chain is here, whole and
 * without known damage. SQLite has no windows between captures (design section 6, pitr).
 * @throws NexusError not-found for a source without backups, damage when its proofs cannot be read
 */
export async function points(
  context: Context,
  repositories: RepositorySettings[],
  source: string,
): Promise<PointsResult> {
  const found: { id: string; at: string }[] = []
  for (const room of await roomsOf(repositories, source)) {
    const { manifests, broken } = await survey(room, context.now())
    const restorable = manifests.filter(({ id }) => !broken.has(id))
    found.push(...restorable.map(({ id, captured_at }) => ({ id, at: captured_at })))
  }
  found.sort((a, b) => Date.parse(a.at) - Date.parse(b.at))
  return { command: 'pitr points', source, points: found, windows: [] }
}
