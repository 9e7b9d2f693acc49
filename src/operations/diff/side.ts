import type { DigestTable } from '../../image/digest-table.js'
import type { SourceRoom } from '../../repository/types.js'
import type { OpenedBackup } from '../sealing/open-backup.js'
import type { DiffResult } from './results.js'

/** One of two backups that are compared. */
export interface Side {
  room: SourceRoom
  /** Full first. */
  chain: readonly OpenedBackup[]
  opened: OpenedBackup
  /** Digests of its blocks; null where they cannot be compared with those of the other. */
  table: DigestTable | null
}

export interface Sides {
  before: Side
  after: Side
}

/** What a result says of the two, before anything is counted. */
export function headOf({ before, after }: Sides): Pick<DiffResult, 'command' | 'source' | 'kind' | 'before' | 'after'> {
  const { source, kind } = after.opened.manifest
  return { command: 'diff', source, kind, before: named(before), after: named(after) }
}

function named({ opened: { manifest } }: Side): DiffResult['before'] {
  return { id: manifest.id, captured_at: manifest.captured_at }
}

/** Whether both are one backup. */
export function isSameBackup({ before, after }: Sides): boolean {
  return before.opened.manifest.id === after.opened.manifest.id
}
