import type { ListedFile } from '../list/listed-file.js'

/** What differs between two entries of the same path. */
export type ChangedFact = 'type' | 'content' | 'mode' | 'owner' | 'time' | 'link' | 'attributes'

/** An entry that only one of two backups has, or that differs between them. */
export interface DiffEntry {
  change: 'added' | 'removed' | 'changed'
  path: string
  type: ListedFile['type']
  /** Bytes in the first and in the second backup; null where it is not there. */
  size_before: number | null
  size_after: number | null
  /** Empty but for `changed`. */
  facts: ChangedFact[]
  /** Bytes of the second backup's blocks that differ; absent where no blocks were compared. */
  bytes_changed?: number
}

export interface DiffResult {
  command: 'diff'
  source: string
  kind: string
  before: { id: string; captured_at: string }
  after: { id: string; captured_at: string }
  /** Nothing differs. */
  identical: boolean
  /**
   * How content was compared: block by block by digests, or, between chains whose digests cannot be compared, by size and
   * time.
   */
  compared: 'digests' | 'times'
  counts: { added: number; removed: number; changed: number; unchanged: number }
  /** Bytes of what was added and removed. */
  bytes_added: number
  bytes_removed: number
  /** Blocks of the second backup that differ from the first, and their bytes; null where none were compared. */
  blocks_changed: number | null
  bytes_changed: number | null
}
