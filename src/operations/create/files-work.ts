import type { FilesSourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { captureFiles } from '../../sources/files/capture.js'
import { probeFiles } from '../../sources/files/probe.js'
import { ownDirectories } from '../own-directories.js'
import { finishInterruptedTrees } from '../trees/interrupted-trees.js'
import { withNothingEmptied } from './emptied-places.js'
import type { SourceWork } from './source-work.js'
import { writeTreeBackup } from './write-tree-backup.js'

/** What create does for directories. */
export function filesWork(source: FilesSourceSettings): SourceWork {
  const capture = (context: Context, more: { reread: boolean; staging?: string }) => {
    const { now, signal } = context
    return captureFiles(source, { now: () => now(), signal, own: ownDirectories(context, source), ...more })
  }
  return {
    finishInterruptedRestore: context => finishInterruptedTrees(context, source),
    async probe(context) {
      const { size } = await probeFiles(source, { signal: context.signal, own: ownDirectories(context, source) })
      return {
        // Further roots may come and go; the first one is whose the name is.
        claim: { kind: source.kind, host: context.host, path: source.paths[0] ?? null, system_identifier: null },
        identity: { kind: source.kind },
        size,
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
        return await writeTreeBackup(task, { capture: await withNothingEmptied(task, captured), scratch })
      } finally {
        await captured.close()
      }
    },
    async assertComparable(comparison) {
      const captured = await capture(comparison.context, { reread: false })
      try {
        await withNothingEmptied(comparison, captured)
      } finally {
        await captured.close()
      }
    },
  }
}
