import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { withStateScratch } from '../state-directory.js'
import { baseFacts, majorOf } from './base-facts.js'
import { type LoadedSystem, loadSystems } from './load-systems.js'
import { lookInto } from './look.js'
import type { ClusterBase } from './systems.js'
import { type Stretch, stretchesOf, type Window, windowOf } from './windows.js'

/** The windows of a cluster, oldest first. */
export interface ClusterWindows {
  windows: Window[]
  /** What only `--timeline N` reaches. */
  branches: Window[]
  /** Ids of the backups that lie in a window of the timeline that is followed. */
  covered: ReadonlySet<string>
}

/** Asks the archive how far each base leads. @throws NexusError as `points` says */
export async function clusterWindows(
  context: Context,
  repositories: readonly RepositorySettings[],
  { source, binDirectory }: { source: string; binDirectory: string | null },
): Promise<ClusterWindows> {
  const found: { window: Window; stretch: Stretch }[] = []
  await withStateScratch(context.stateDirectory, async scratch => {
    for (const system of await loadSystems(context, repositories, source)) {
      for (const stretch of stretchesOf(system)) {
        const [oldest] = stretch.bases
        if (oldest === undefined) continue
        const look = lookInto(context, system, { major: versionOf(system, oldest), binDirectory, scratch })
        const { from, to } = stretch.reach
        const window = windowOf(stretch, await look.end(stretch.line, { first: from, to }))
        if (window !== null) found.push({ window, stretch })
      }
    }
  })
  found.sort((a, b) => Date.parse(a.window.from) - Date.parse(b.window.from))
  const own = found.filter(({ stretch }) => stretch.isDefault)
  const covered = own.flatMap(({ window, stretch }) => {
    return stretch.bases.filter(({ capturedAt }) => capturedAt <= Date.parse(window.to)).map(({ id }) => id)
  })
  return {
    windows: own.map(({ window }) => window),
    branches: found.filter(({ stretch }) => !stretch.isDefault).map(({ window }) => window),
    covered: new Set(covered),
  }
}

function versionOf({ survey }: LoadedSystem, { id }: ClusterBase): number {
  const manifest = survey.manifests.find(member => member.id === id)
  if (manifest === undefined) throw new Error(`${id} has no manifest`)
  return majorOf(baseFacts(manifest))
}
