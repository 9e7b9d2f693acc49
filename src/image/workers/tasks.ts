import type { Attributes as ExtendedAttributes } from '../../system/attributes.js'
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

/** Digest the runs' blocks and hand back those that differ from the digests given; what is absent differs. */
export interface ScanTask {
  kind: 'scan'
  digest: DigestKind
  bytes: TaskBytes[]
  length: number
  runs: TaskRun[]
  /** For each run, how many of its first blocks there were before. */
  known: Uint32Array<ArrayBuffer>
  /** Digests of those blocks, of all runs in order. */
  before: Uint8Array<ArrayBuffer>
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

/** A piece of a decompressed frame that goes to a file: an open one, or one of a tree too large to have all open. */
export interface PlacedPiece {
  to: number | PlacedFile
  position: number
  offset: number
  length: number
}

/** A file that exists already and is opened by whoever writes to it. */
export interface PlacedFile {
  path: string
  /** Zeros are not written: the file is as long as it must be, and what is not written is a hole. */
  sparse: boolean
}

/** One frame to be opened. */
export interface FrameToOpen {
  storedLength: number
  plainLength: number
  runs: TaskRun[]
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

/** Make files that are not there yet, readable for nobody else, as long as they will be. */
export interface CreateTask {
  kind: 'create'
  files: { path: string; size: number }[]
}

/** What a restored file or directory gets at the end. */
export interface Attributes {
  mode: number
  /** Null leaves those of the process. */
  owner: { uid: number; gid: number } | null
  /** Seconds since 1970. */
  mtime: number
  extended?: ExtendedAttributes
}

/** Give files or directories their attributes, make them durable, or both. */
export interface SettleTask {
  kind: 'settle'
  items: { path: string; directory: boolean; attributes: Attributes | null; sync: boolean }[]
}
/** What went wrong with single files of the last two, by their position: they were not made, or not given something. */
export interface Done {
  problems: { at: number; message: string }[]
}

export type Task = StoreTask | ScanTask | PackTask | OpenTask | CreateTask | SettleTask
export type ResultOf<T extends Task> = T extends StoreTask
  ? Stored
  : T extends ScanTask
    ? Scanned
    : T extends PackTask
      ? Packed
      : T extends OpenTask
        ? Opened
        : Done

/** What making a file or giving it its attributes counts for: about as long as digesting and compressing so much. */
const BYTES_PER_FILE = 32 << 10

/** How much work a task is, in bytes to read, compress or decompress. */
export function bytesIn(task: Task): number {
  switch (task.kind) {
    case 'store':
      return sum(task.frames, frame => frame.length)
    case 'scan':
      return task.length
    case 'pack':
      return task.bytes.length
    case 'open':
      return sum(task.frames, frame => frame.plainLength)
    case 'create':
      return task.files.length * BYTES_PER_FILE
    case 'settle':
      return task.items.length * BYTES_PER_FILE
  }
}

function sum<T>(items: readonly T[], bytes: (item: T) => number): number {
  return items.reduce((total, item) => total + bytes(item), 0)
}

/** The memory of the bytes that came with a task: whoever does the task has it alone. */
export function memoryOf(task: Task): Set<ArrayBuffer> {
  return new Set(bytesOf(task).flatMap(bytes => (bytes instanceof Uint8Array ? [bytes.buffer] : [])))
}

function bytesOf(task: Task): TaskBytes[] {
  switch (task.kind) {
    case 'store':
      return task.frames.flatMap(({ bytes }) => bytes)
    case 'scan':
      return [task.before, ...task.bytes]
    case 'pack':
      return [task.bytes]
    case 'open':
      return [task.stored]
    case 'create':
    case 'settle':
      return []
  }
}
