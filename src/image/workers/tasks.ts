import type { IndexedRun } from '../block-index.js'
import type { DigestKind, Extent } from '../types.js'

/** Bytes to work on: in memory, or to be read by the worker from descriptors of this process. */
export type TaskBytes = Extent[] | Uint8Array<ArrayBuffer>

/** Where blocks lie in a frame's plain bytes, for digesting. */
export interface TaskRun {
  offset: number
  length: number
  blockSize: number
  count: number
}

/** One frame to be made. */
export interface FrameToStore {
  bytes: TaskBytes[]
  length: number
  runs: TaskRun[]
}

/** For each frame: digest the runs' blocks and compress everything. Several at a time, for a message costs a wake-up. */
export interface StoreTask {
  kind: 'store'
  digest: DigestKind
  level: number
  frames: FrameToStore[]
}
export interface Stored {
  /** The frames, one after another, and the length of each. */
  stored: Uint8Array<ArrayBuffer>
  lengths: Uint32Array<ArrayBuffer>
  /** Digests of all the frames' blocks in order. */
  digests: Uint8Array<ArrayBuffer>
}

/** Digest the runs' blocks and hand back those that differ from the digests given (a short list: what is absent differs). */
export interface ScanTask {
  kind: 'scan'
  digest: DigestKind
  bytes: TaskBytes[]
  length: number
  runs: TaskRun[]
  /** For each run, the digests its blocks had before. */
  before: Uint8Array<ArrayBuffer>[]
}
export interface Scanned {
  digests: Uint8Array<ArrayBuffer>
  /** Positions of the changed blocks, counted over all runs. */
  changed: Uint32Array<ArrayBuffer>
  /** The changed blocks, one after another. */
  bytes: Uint8Array<ArrayBuffer>
}

/** Compress. */
export interface PackTask {
  kind: 'pack'
  level: number
  bytes: Uint8Array<ArrayBuffer>
}
export interface Packed {
  stored: Uint8Array<ArrayBuffer>
}

/** A piece of a decompressed frame that goes to a file. */
export interface PlacedPiece {
  fd: number
  position: number
  offset: number
  length: number
}

/** One frame to be opened. */
export interface FrameToOpen {
  storedLength: number
  plainLength: number
  runs: (IndexedRun & { length: number; blockSize: number })[]
  digests: Uint8Array<ArrayBuffer>
  /** What to write where; null to leave the frame compressed. */
  pieces: PlacedPiece[] | null
}

/** For each frame: decompress it, compare every block with its digest, and write the pieces asked for. */
export interface OpenTask {
  kind: 'open'
  digest: DigestKind
  /** The frames, one after another; cut off when the part is. */
  stored: Uint8Array<ArrayBuffer>
  frames: FrameToOpen[]
}
export interface Opened {
  /** What is wrong with each frame, or null. */
  problems: (string | null)[]
}

export type Task = StoreTask | ScanTask | PackTask | OpenTask
export type ResultOf<T extends Task> = T extends StoreTask
  ? Stored
  : T extends ScanTask
    ? Scanned
    : T extends PackTask
      ? Packed
      : Opened
