import type { SqliteSourceSettings } from '../../config/settings.js'
import { captureSqlite } from '../../sources/sqlite/capture.js'
import { probeSqlite } from '../../sources/sqlite/probe.js'
import { finishInterruptedDatabaseRestore } from '../databases/interrupted-restore.js'
import { planForCaptured } from './create-plan.js'
import type { SourceWork } from './source-work.js'
import { writeFileBackup } from './write-file-backup.js'

/** What create does for a SQLite database. */
export function databaseWork(source: SqliteSourceSettings): SourceWork {
  return {
    finishInterruptedRestore: context => finishInterruptedDatabaseRestore(context, source),
    async probe({ host }) {
      const { path, size, staged, device, inode, page_size } = probeSqlite(source.path)
      return {
        claim: { kind: source.kind, host, path, system_identifier: null },
        identity: { kind: source.kind, device, inode, page_size },
        size,
        blockSize: page_size,
        staged: staged ? size : 0,
      }
    },
    async captureAndWrite(task, scratch) {
      const { context, plan } = task
      const { signal, now } = context
      const capture = await captureSqlite(source.path, { uid: process.geteuid?.() ?? 0, staging: scratch, signal, now })
      try {
        const { device, inode, page_size } = capture.facts
        const settled = planForCaptured(plan, { kind: 'sqlite', device, inode, page_size })
        for (const warning of settled.warnings.slice(plan.warnings.length)) context.warn(`${source.name}: ${warning}`)
        return await writeFileBackup({ ...task, plan: settled }, { source, capture, scratch })
      } finally {
        await capture.close()
      }
    },
  }
}
