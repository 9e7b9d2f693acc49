import type { TreePaths } from '../image/tree/tree.js'
import type { TreeInput } from '../image/tree/types.js'

/** What was found out about a captured tree once its last byte was read. */
export interface TreeOutcome {
  /** The instant the image stands for. */
  capturedAt: Date
  /** For the manifest's `facts`. */
  facts: Record<string, unknown>
  checks: { name: string; kind: 'integrity' | 'content'; status: 'ok' | 'failed'; detail: string }[]
  warnings: string[]
  /** Something vanished or changed while it was read: the backup is kept and the run ends with 3. */
  incomplete: boolean
}

/** A tree being captured: a cluster through `pg_basebackup`, or directories. */
export interface TreeCapture {
  /** When reading began: the time in the backup's id. */
  begunAt: Date
  /** Stem of the full's part: NAME.tar.zst. */
  name: string
  /** Versions worth keeping in the manifest, by name. */
  versions: Record<string, string>
  /** Called once, with the parent's tree, or null for a full. */
  open(before: TreePaths | null): Promise<TreeInput>
  /** After the archive was read to its end. @throws NexusError when the capture is no good */
  finish(): Promise<TreeOutcome>
  /** In any case, also when nothing was read. */
  close(): Promise<void>
}
