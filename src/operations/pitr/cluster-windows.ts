import type { RepositorySettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { loadSystems } from './load-systems.js'
import { openScans } from './open-scans.js'
import type { ScannedSegment } from './wal-scan.js'
import { stretchesOf, type Window, type WindowBreak, windowsOf } from './windows.js'

/** The windows of a cluster, oldest first. */
export interface ClusterWindows {
  windows: Window[]
  /** What only `--timeline N` reaches. */
  branches: Window[]
  /** What only a backup of a damaged cluster leads to: `--allow-damaged` reaches it. */
  marked: Window[]
  /** Where windows end although the WAL goes on. */
  breaks: WindowBreak[]
  /** Ids of the backups that lie in a window of the timeline that is followed. */
  covered: ReadonlySet<string>
}

/** Asks the archive how far each base leads. @throws NexusError as `points` says */
export async function clusterWindows(
  context: Context,
  repositories: readonly RepositorySettings[],
  source: string,
): Promise<ClusterWindows> {
  const found: ClusterWindows & { covered: Set<string> } = {
    ...{ windows: [], branches: [], marked: [], breaks: [] },
    covered: new Set(),
  }
  const scans = openScans(context)
  try {
    for (const system of await loadSystems(context, repositories, source)) {
      for (const stretch of stretchesOf(system)) {
        const [oldest] = stretch.bases
        if (oldest === undefined) continue
        const segments: ScannedSegment[] = []
        const scan = await scans.of(system, oldest)
        const reach = { first: stretch.reach.from, to: stretch.reach.to }
        for await (const segment of scan.scan(stretch.line, reach)) segments.push(segment)
        const { windows, breaks, covered } = windowsOf(stretch, segments)
        const place = stretch.isMarked ? found.marked : stretch.isDefault ? found.windows : found.branches
        place.push(...windows)
        found.breaks.push(...breaks.filter(one => !found.breaks.some(known => isSame(known, one))))
        if (stretch.isDefault && !stretch.isMarked) for (const id of covered) found.covered.add(id)
      }
    }
  } finally {
    await scans.save()
  }
  const byBegin = (a: Window, b: Window) => Date.parse(a.from) - Date.parse(b.from)
  found.windows.sort(byBegin)
  found.branches.sort(byBegin)
  found.marked.sort(byBegin)
  return found
}

/** What ends the windows of sound and of marked bases is said once. */
function isSame(a: WindowBreak, b: WindowBreak): boolean {
  return a.reason === b.reason && a.timeline === b.timeline && a.lsn === b.lsn
}
