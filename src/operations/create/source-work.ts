import type { SourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import type { Claim } from '../../repository/types.js'
import type { CreateRequest } from '../requests.js'
import type { Concern } from '../results.js'
import type { OpenedBackup } from '../sealing/open-backup.js'
import type { BackUpTask } from './back-up.js'
import type { SourceIdentity } from './create-plan.js'
import type { Comparison } from './emptied-places.js'

/** What is known of a source before anything is done for it. */
export interface ProbedSource {
  claim: Claim
  identity: SourceIdentity
  /** Bytes, as far as can be told without reading; null where only a capture tells. */
  size: number | null
  /** Bytes of a block. */
  blockSize: number
  /** Bytes that a copy takes on the repository's disk while the backup is made. */
  staged: number
}

/** What a create does in its own way for each kind of source. */
export interface SourceWork {
  /** Ends a restore in place that was killed, so that no half-restored state is backed up. */
  finishInterruptedRestore(context: Context): Promise<unknown>
  /** Looks at the source. @throws NexusError for whatever create would refuse */
  probe(context: Context): Promise<ProbedSource>
  /** Bytes of what a backup would hold, where the probe does not tell. */
  measure?(context: Context): Promise<number>
  /** Compares the source with its earlier backups, as the capture does. @throws NexusError for what create would refuse */
  assertComparable?(comparison: Comparison): Promise<void>
  /** Captures and writes a backup; `scratch` is a directory for this run. Called after `probe`. */
  captureAndWrite(task: BackUpTask, scratch: string): Promise<OpenedBackup>
  /** What endangers the source besides; asked when its backup is made. */
  concerns?(task: Pick<BackUpTask, 'context' | 'room' | 'request' | 'sealing'>): Promise<Concern[]>
}

/** The work for one source. Only its kind's modules are loaded: PostgreSQL's and the files' cost a tenth of a second. */
export async function workFor(
  source: SourceSettings,
  request: Pick<CreateRequest, 'allowOtherNames'> = {},
): Promise<SourceWork> {
  switch (source.kind) {
    case 'sqlite':
      return (await import('./database-work.js')).databaseWork(source, request)
    case 'postgres':
      return (await import('./cluster-work.js')).clusterWork(source)
    case 'files':
      return (await import('./files-work.js')).filesWork(source)
  }
}
