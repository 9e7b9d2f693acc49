import type { SqliteSourceSettings } from '../../config/settings.js'
import { captureSqlite } from '../../sources/sqlite/capture.js'
import { assertOnlyName } from '../../sources/sqlite/other-names.js'
import { probeSqlite } from '../../sources/sqlite/probe.js'
import { realTarget } from '../../sources/sqlite/restore-record.js'
import { finishInterruptedDatabaseRestore } from '../databases/interrupted-restore.js'
import type { CreateRequest } from '../requests.js'
import { planForCaptured } from './create-plan.js'
import type { SourceWork } from './source-work.js'
import { writeFileBackup } from './write-file-backup.js'

/** What create does for a SQLite database. */
export function databaseWork(
  source: SqliteSourceSettings,
  request: Pick<CreateRequest, 'allowOtherNames'> = {},
): SourceWork {
  const allowed = request.allowOtherNames === true || source.allowOtherNames === true
  return {
    finishInterruptedRestore: context => finishInterruptedDatabaseRestore(context, source),
    async probe({ host, warn }) {
      const { path, size, staged, device, inode, page_size } = probeSqlite(source.path)
      assertOnlyName(path, { allowed, warn: message => warn(`${source.name}: ${message}`) })
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
      // Locks may have been waited for since; what is allowed was told.
      if (!allowed) assertOnlyName(realTarget(source.path), { allowed, warn: () => {} })
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
