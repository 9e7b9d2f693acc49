import type { DigestAlgorithm } from './digest.js'

/** Input bytes that make one frame: large enough to compress well, small enough to seek and to hand around. */
export const FRAME_BYTES = 1024 * 1024

/** A block's digest: 128 bits. */
export const DIGEST_BYTES = 16

/** Descriptor number of an extent that reads as zeros. */
export const ZEROS = -1

/** Bytes of an open file, read by whichever worker gets them; descriptors are shared by all threads of a process. */
export interface Extent {
  fd: number
  position: number
  length: number
}

/** A run of whole blocks of one file. */
export interface BlockRun {
  /** Index into the image's files. */
  file: number
  /** Number of the first block within the file. */
  first: number
  count: number
  /** Bytes; the last block of a file may be shorter. */
  blockSize: number
  /** Number of the first block within the image: its row in the digest table. */
  row: number
  /** Where the blocks these are compared with stand in the earlier image's table, as many as there are; null for none. */
  before: { row: number; count: number } | null
}

/** Consecutive bytes of the image's stream. */
export interface Span {
  /**
   * Where the bytes are: in files, or in memory already (a tar stream from another program). Memory is handed over: spans
   * of a frame that lie side by side in one buffer go to the worker without a copy, and the buffer is gone.
   */
  from: Extent[] | Uint8Array<ArrayBuffer>
  length: number
  /** Null for bytes that belong to no block, such as a tar header. */
  run: BlockRun | null
}

/** What becomes one frame: about FRAME_BYTES, never a block cut in two. */
export type Frame = Span[]

/** How blocks are told apart. */
export interface DigestKind {
  algorithm: DigestAlgorithm
  /** 64-bit seed as 16 hexadecimal digits; `sha256-128` ignores it. */
  seed: string
}

/** Reads a stored part from its beginning to its end. */
export interface ByteReader {
  readonly size: number
  /** At most so many bytes, fewer at the end; they are the caller's alone. */
  read(length: number): Promise<Buffer>
  /**
   * SHA-256 of the stored bytes, in lower-case hexadecimal, where they are not the ones that are read (a sealed part);
   * reads what was not read yet. Without it the bytes read are the stored ones.
   */
  storedSha256?(): Promise<string>
  close(): Promise<void>
}

/** Reads a stored part here and there too. */
export interface PartReader extends ByteReader {
  /** At most so many bytes from a position on, fewer at the end, wherever `read` has come to. */
  readAt(position: number, length: number): Promise<Buffer>
}

/** Takes a part's bytes in order. */
export interface ByteSink {
  /** When it has resolved, the bytes are the caller's again. */
  write(bytes: Uint8Array): Promise<void>
}

/** What every long step of the engine is handed. */
export interface Work {
  signal: AbortSignal
  /** Called with the bytes just done. */
  advance(bytes: number): void
}
