import { NexusError } from '../errors.js'
import { buffered } from './buffered.js'
import { blocksOfFile, type FileLayout } from './file-layout.js'
import { type BlockRun, type ByteReader, type ByteSink, DIGEST_BYTES } from './types.js'

/**
 * `blocks.idx`, format 1: for each frame of a part how long it is and which blocks it holds with their digests.
 * The layout is written down in nexus-backup-repository(5); numbers are little-endian.
 */
const MAGIC = Buffer.from('NXBKIDX1', 'latin1')
const END_MAGIC = Buffer.from('NXBKEND1', 'latin1')
const HEADER_BYTES = 16
const RECORD_HEAD_BYTES = 12
const RUN_BYTES = 24

const WRITE_BYTES = 256 * 1024

/** Bounds checked before anything is allocated: an index is input from outside. */
export const MAX_PLAIN_BYTES = 16 * 1024 * 1024
export const MAX_STORED_BYTES = 17 * 1024 * 1024
export const MAX_RUNS = 65_536
const MIN_BLOCK_BYTES = 512

/** A run as the index has it: `offset` is where its first block lies in the decompressed frame. */
export interface IndexedRun {
  file: number
  first: number
  count: number
  offset: number
}

export interface FrameRecord {
  storedLength: number
  plainLength: number
  runs: IndexedRun[]
  /** Digests of all the runs' blocks in order, 16 bytes each. */
  digests: Uint8Array<ArrayBuffer>
}

/** Writes an index record by record, in the order of the frames. */
export class BlockIndexWriter {
  readonly #sink: ByteSink
  /** Records not yet handed on: each by itself would be a trip to another thread. */
  #waiting: Uint8Array[] = []
  #waitingBytes = 0
  #frames = 0n
  #blocks = 0n

  constructor(sink: ByteSink) {
    this.#sink = sink
  }

  async begin(): Promise<void> {
    const header = Buffer.alloc(HEADER_BYTES)
    MAGIC.copy(header)
    header.writeUInt32LE(DIGEST_BYTES, 8)
    await this.#write(header)
  }

  async add(record: FrameRecord): Promise<void> {
    const head = Buffer.alloc(RECORD_HEAD_BYTES + record.runs.length * RUN_BYTES)
    head.writeUInt32LE(record.storedLength, 0)
    head.writeUInt32LE(record.plainLength, 4)
    head.writeUInt32LE(record.runs.length, 8)
    let at = RECORD_HEAD_BYTES
    for (const run of record.runs) {
      head.writeUInt32LE(run.file, at)
      head.writeUInt32LE(run.count, at + 4)
      head.writeBigUInt64LE(BigInt(run.first), at + 8)
      head.writeUInt32LE(run.offset, at + 16)
      at += RUN_BYTES
    }
    await this.#write(head)
    await this.#write(record.digests)
    this.#frames += 1n
    this.#blocks += BigInt(record.digests.length / DIGEST_BYTES)
  }

  async end(): Promise<void> {
    const end = Buffer.alloc(RECORD_HEAD_BYTES + 24)
    end.writeBigUInt64LE(this.#frames, RECORD_HEAD_BYTES)
    end.writeBigUInt64LE(this.#blocks, RECORD_HEAD_BYTES + 8)
    END_MAGIC.copy(end, RECORD_HEAD_BYTES + 16)
    await this.#write(end)
    await this.#flush()
  }

  async #write(bytes: Uint8Array): Promise<void> {
    this.#waiting.push(bytes)
    this.#waitingBytes += bytes.length
    if (this.#waitingBytes >= WRITE_BYTES) await this.#flush()
  }

  async #flush(): Promise<void> {
    const bytes = Buffer.concat(this.#waiting)
    this.#waiting = []
    this.#waitingBytes = 0
    await this.#sink.write(bytes)
  }
}

/**
 * Reads an index record by record. Everything in it is checked against the bounds and against the block sizes
 * of the image's files before memory is taken.
 *
 * @throws NexusError `damage` when the index is cut short, exceeds a bound or contradicts itself
 */
export async function* readBlockIndex(reader: ByteReader, layout: FileLayout): AsyncGenerator<FrameRecord, void, void> {
  const input = buffered(reader)
  const header = await take(input, HEADER_BYTES)
  if (!header.subarray(0, 8).equals(MAGIC)) throw damaged('it does not begin as a block index does')
  if (header.readUInt32LE(8) !== DIGEST_BYTES) throw damaged('its digests have an unknown length')
  let frames = 0n
  let blocks = 0n
  for (;;) {
    const head = await take(input, RECORD_HEAD_BYTES)
    const storedLength = head.readUInt32LE(0)
    const plainLength = head.readUInt32LE(4)
    const runCount = head.readUInt32LE(8)
    if (storedLength === 0) {
      await checkEnd(input, frames, blocks)
      return
    }
    if (storedLength > MAX_STORED_BYTES || plainLength > MAX_PLAIN_BYTES || plainLength === 0 || runCount > MAX_RUNS) {
      throw damaged(`frame ${frames} claims an impossible length`)
    }
    const runs = parseRuns(await take(input, runCount * RUN_BYTES), layout, plainLength, frames)
    const count = runs.reduce((sum, run) => sum + run.count, 0)
    if (count * MIN_BLOCK_BYTES > plainLength + MIN_BLOCK_BYTES * runs.length) {
      throw damaged(`frame ${frames} claims more blocks than it has room for`)
    }
    const digests = new Uint8Array(await take(input, count * DIGEST_BYTES))
    frames += 1n
    blocks += BigInt(count)
    yield { storedLength, plainLength, runs, digests }
  }
}

/** Bytes that a run's blocks take; only a file's last block may be short. */
export function runBytes(run: IndexedRun, layout: FileLayout): number {
  const blockSize = layout.blockSizeOf(run.file)
  return Math.min((run.first + run.count) * blockSize, layout.sizeOf(run.file)) - run.first * blockSize
}

/** The run of an image's stream as the index keeps it. */
export function indexedRun(run: BlockRun, offset: number): IndexedRun {
  return { file: run.file, first: run.first, count: run.count, offset }
}

function parseRuns(bytes: Buffer, layout: FileLayout, plainLength: number, frame: bigint): IndexedRun[] {
  const runs: IndexedRun[] = []
  let free = 0
  for (let at = 0; at < bytes.length; at += RUN_BYTES) {
    const first = bytes.readBigUInt64LE(at + 8)
    const run = {
      file: bytes.readUInt32LE(at),
      count: bytes.readUInt32LE(at + 4),
      first: Number(first),
      offset: bytes.readUInt32LE(at + 16),
    }
    if (run.file >= layout.count) throw damaged(`frame ${frame} names a file that the image does not have`)
    const blocks = blocksOfFile(layout, run.file)
    if (first > BigInt(Number.MAX_SAFE_INTEGER) || run.count === 0 || run.first + run.count > blocks) {
      throw damaged(`frame ${frame} names blocks beyond the end of ${layout.sizeOf(run.file)} bytes`)
    }
    const length = runBytes(run, layout)
    if (run.offset < free || run.offset + length > plainLength) {
      throw damaged(`frame ${frame} has blocks that overlap or lie outside of it`)
    }
    free = run.offset + length
    runs.push(run)
  }
  return runs
}

async function checkEnd(reader: ByteReader, frames: bigint, blocks: bigint): Promise<void> {
  const end = await take(reader, 24)
  if (end.readBigUInt64LE(0) !== frames || end.readBigUInt64LE(8) !== blocks || !end.subarray(16).equals(END_MAGIC)) {
    throw damaged('its end does not match what it holds')
  }
  if ((await reader.read(1)).length > 0) throw damaged('something follows its end')
}

async function take(reader: ByteReader, length: number): Promise<Buffer> {
  if (length === 0) return Buffer.alloc(0)
  const bytes = await reader.read(length)
  if (bytes.length < length) throw damaged('it ends too early')
  return bytes
}

function damaged(problem: string): NexusError {
  return new NexusError('damage', 'index_damaged', `the block index cannot be used: ${problem}`)
}
