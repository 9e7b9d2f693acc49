import type { FilesSourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { captureFiles, type FilesCapture } from '../../sources/files/capture.js'
import { probeFiles } from '../../sources/files/probe.js'
import { ownDirectories } from '../own-directories.js'
import { finishInterruptedTrees } from '../trees/interrupted-trees.js'
import { withNothingEmptied } from './emptied-places.js'
import { assertRoom } from './free-space.js'
import type { SourceWork } from './source-work.js'
import { writeTreeBackup } from './write-tree-backup.js'

/** What create does for directories. */
export function filesWork(source: FilesSourceSettings): SourceWork {
  const capture = (context: Context, more: { reread: boolean; staging?: string }) => {
    const { now, signal } = context
    return captureFiles(source, { now: () => now(), signal, own: ownDirectories(context, source), ...more })
  }
  let previewed: Promise<FilesCapture> | undefined
  /** For a preview: the tree is walked once for all that it wants to know. */
  const preview = (context: Context) => {
    previewed ??= capture(context, { reread: false })
    return previewed
  }
  return {
    finishInterruptedRestore: context => finishInterruptedTrees(context, source),
    async probe(context) {
      probeFiles(source, ownDirectories(context, source))
      return {
        // Further roots may come and go; the first one is whose the name is.
        claim: { kind: source.kind, host: context.host, path: source.paths[0] ?? null, system_identifier: null },
        identity: { kind: source.kind },
        size: null,
        blockSize: 131072,
        staged: 0,
      }
    },
    async captureAndWrite(task, scratch) {
      const captured = await capture(task.context, {
        reread: task.plan.parent?.facts.reread === true,
        staging: scratch,
      })
      try {
        const probe = { ...task.probe, size: captured.size }
        await assertRoom(task.room.repository, task.plan, task.history.manifests, probe)
        const compared = await withNothingEmptied(task, captured)
        return await writeTreeBackup({ ...task, probe }, { capture: compared, scratch })
      } finally {
        await captured.close()
      }
    },
    async measure(context) {
      return (await preview(context)).size
    },
    async assertComparable(comparison) {
      await withNothingEmptied(comparison, await preview(comparison.context))
    },
  }
}
