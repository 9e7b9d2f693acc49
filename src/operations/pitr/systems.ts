import type { NexusError } from '../../errors.js'
import type { ArchivedSpans, ClusterLine } from './lines.js'

/** A base backup as planning sees it. */
export interface ClusterBase {
  id: string
  /** Milliseconds since 1970 UTC: the instant it stands for. */
  capturedAt: number
  timeline: number
  /** Where it is consistent. */
  stop: bigint
  stopSegment: number
  standby: boolean
  /** Why nothing may be built on it (a damaged chain, a damaged source); null when it is sound. */
  problem: string | null
  /** That is all: it was made of a damaged cluster, and can be restored as that was. */
  isMarked?: boolean
}

/** All that the repository holds of one system (one initdb): its bases and its log. */
export interface ClusterSystem {
  source: string
  identifier: string
  segmentBytes: number
  /** Oldest first. */
  bases: readonly ClusterBase[]
  /** Marked bases may be used where no sound one leads. */
  allowsMarked?: boolean
  lines: ReadonlyMap<number, ClusterLine>
  archived: ArchivedSpans
  /** When something was last written on each timeline (a base captured, a segment closed), ms since 1970 UTC; of itself. */
  lastWritten: ReadonlyMap<number, number>
  /** Why the history of a timeline cannot be used, of timelines that hold something of ours: where they begin is not known. */
  lostHistories?: ReadonlyMap<number, NexusError>
}
