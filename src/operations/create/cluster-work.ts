import type { PostgresSourceSettings } from '../../config/settings.js'
import { readArchiving } from '../../sources/postgres/archiving.js'
import { captureCluster, type KnownCluster, lookAtCluster } from '../../sources/postgres/capture.js'
import { recoveryLeftovers } from '../../sources/postgres/leftovers.js'
import { archivingConcerns } from '../pitr/archiving-concerns.js'
import { untrustedWalConcern } from '../pitr/untrusted-wal.js'
import { finishInterruptedTrees } from '../trees/interrupted-trees.js'
import type { SourceWork } from './source-work.js'
import { writeTreeBackup } from './write-tree-backup.js'

/** What create does for a PostgreSQL cluster. */
export function clusterWork(source: PostgresSourceSettings): SourceWork {
  /** What the server said when it was looked at, so that it is not asked twice. */
  let known: KnownCluster | undefined
  return {
    async finishInterruptedRestore(context) {
      if (source.dataDirectory === null) return
      await finishInterruptedTrees(context, {
        name: source.name,
        paths: [source.dataDirectory],
        service: source.service,
      })
    },
    async probe(context) {
      known = await lookAtCluster(source, context)
      const { systemIdentifier, estimatedBytes: size } = known.cluster
      return {
        claim: { kind: source.kind, host: context.host, path: null, system_identifier: systemIdentifier },
        identity: { kind: source.kind, system_identifier: systemIdentifier },
        size,
        blockSize: 8192,
        staged: 0,
      }
    },
    async captureAndWrite(task, scratch) {
      const { context } = task
      known ??= await lookAtCluster(source, context)
      for (const warning of await recoveryLeftovers(known.session, known.cluster)) {
        context.warn(`${source.name}: ${warning}`)
      }
      const capture = await captureCluster(known, context, source)
      try {
        return await writeTreeBackup(task, { capture, scratch })
      } finally {
        await capture.close()
      }
    },
    async concerns({ context, room, request, sealing }) {
      if (known === undefined) return []
      const archiving = await readArchiving(known.session)
      const concerns = archivingConcerns(source, archiving, { begins: request.init })
      return sealing === null ? concerns : [...concerns, ...(await untrustedWalConcern(context, room, archiving))]
    },
  }
}
