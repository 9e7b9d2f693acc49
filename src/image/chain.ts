import { createHash } from 'node:crypto'
import { errnoOf, NexusError } from '../errors.js'
import { type FrameRecord, readBlockIndex, runBytes } from './block-index.js'
import type { FileLayout } from './file-layout.js'
import { inBatches, inOrder } from './ordered.js'
import { type ByteReader, DIGEST_BYTES, type DigestKind, type PartReader, type Work } from './types.js'
import type { WorkerPool } from './workers/pool.js'
import type { FrameToOpen, PlacedPiece } from './workers/tasks.js'

/** Frames opened for one message to a thread. */
export const BATCH_FRAMES = 4

/** A stored file and the SHA-256 it must have. */
export interface StoredPart {
  name: string
  /** That a reader gives. */
  bytes: number
  /** Of what is stored. */
  sha256: string
  open(): Promise<PartReader>
}

/** One backup of a chain, as the engine sees it. */
export interface ChainMember {
  id: string
  digest: DigestKind
  /** Blocks of the image by its manifest; the layout has as many. */
  blocks: number
  /**
   * The image's files. Read anew each time: a chain of a hundred trees is never in memory at once.
   *
   * @throws DamagedPart
   */
  layout(): Promise<FileLayout>
  /** The frames: a full's image or the changed blocks. */
  frames: StoredPart
  index: StoredPart
}

/** Something wrong with a stored part. */
export interface Finding {
  part: string
  problem: string
}

/** A stored list of files that cannot be used. */
export class DamagedPart extends NexusError {
  readonly finding: Finding

  constructor(part: string, problem: string) {
    super('damage', 'part_damaged', `${part} ${problem}`)
    this.finding = { part, problem }
  }
}

/** What to do with one frame: the pieces to write, or null to leave it compressed. */
export type Placement = (record: FrameRecord) => PlacedPiece[] | null

/**
 * Reads one member from end to end: every byte against its SHA-256, and every frame that `place` wants through a
 * worker, which compares all blocks with their digests. Damage is collected, not thrown.
 *
 * @throws NexusError for anything that is not damage: unreadable files, full disks, signals
 */
export async function readMember(
  member: ChainMember,
  layout: FileLayout,
  settings: { pool: WorkerPool; work: Work },
  place: Placement,
): Promise<Finding[]> {
  const findings: Finding[] = []
  const problem = (part: string, text: string) => findings.push({ part, problem: text })
  const parts = await openParts(member, problem)
  if (parts === undefined) return findings
  const index = hashing(parts.index)
  const frames = hashing(parts.frames)
  try {
    const unreadable = (text: string) => problem(member.frames.name, text)
    const read = storedFrames(inBatches(records(member, layout, index, problem), BATCH_FRAMES), frames, unreadable)
    const opened = inOrder(read, settings.pool.width, async ({ batch, stored }) => {
      const list = batch.map(record => ({ ...frameToOpen(layout, record), pieces: place(record) }))
      const task = { kind: 'open' as const, digest: member.digest, stored, frames: list }
      const { problems } = await settings.pool.run(task, [stored.buffer])
      return { batch, problems }
    })
    let frame = 0
    for await (const { batch, problems } of opened) {
      settings.work.signal.throwIfAborted()
      for (const [number, record] of batch.entries()) {
        const text = problems[number] ?? null
        if (text !== null) problem(member.frames.name, `frame ${frame} ${text}`)
        settings.work.advance(record.storedLength)
        frame += 1
      }
    }
    for (const [part, reader] of [
      [member.index, index],
      [member.frames, frames],
    ] as const) {
      const actual = await reader.finish()
      if (actual !== part.sha256) problem(part.name, 'SHA-256 differs from the one recorded')
    }
  } finally {
    await index.close()
    await frames.close()
  }
  return findings
}

/**
 * Why an image as large as the manifest says cannot come of a member: every block that is not in the image before must
 * stand in its index with a digest. Asked before anything of that size is made, for a manifest is input from outside.
 * @param before blocks of the image that the member's are changes against; 0 for a full
 */
export async function sizeProblem({ blocks, index }: ChainMember, before: number): Promise<Finding | null> {
  const problems: Finding[] = []
  const reader = await openPart(index, (part, problem) => problems.push({ part, problem }))
  await reader?.close()
  if (reader === undefined) return problems[0] ?? null
  if (blocks <= before + Math.floor(reader.size / DIGEST_BYTES)) return null
  return { part: index.name, problem: 'has no room for as many blocks as the manifest claims' }
}

/** Reads a member's index alone, checked against its SHA-256. @throws DamagedPart or NexusError `damage` */
export async function readDigests(
  member: ChainMember,
  layout: FileLayout,
  use: (record: FrameRecord) => void,
): Promise<void> {
  const reader = hashing(await member.index.open())
  try {
    for await (const record of readBlockIndex(reader, layout)) use(record)
    if ((await reader.finish()) !== member.index.sha256) {
      throw new NexusError('damage', 'index_damaged', `${member.id}/${member.index.name} differs from its SHA-256`)
    }
  } finally {
    await reader.close()
  }
}

/** A frame as a worker wants it, without where its blocks go. */
export function frameToOpen(layout: FileLayout, record: FrameRecord): Omit<FrameToOpen, 'pieces'> {
  const runs = record.runs.map(run => {
    return {
      offset: run.offset,
      count: run.count,
      length: runBytes(run, layout),
      blockSize: layout.blockSizeOf(run.file),
    }
  })
  return { storedLength: record.storedLength, plainLength: record.plainLength, runs, digests: record.digests }
}

/** The records of an index that is read once; what is wrong with it is told. */
export async function* records(
  member: ChainMember,
  layout: FileLayout,
  index: ByteReader,
  problem: (part: string, text: string) => void,
): AsyncGenerator<FrameRecord, void, void> {
  try {
    yield* readBlockIndex(index, layout)
  } catch (error) {
    if (!(error instanceof NexusError) || error.kind !== 'damage') throw error
    problem(member.index.name, error.message)
  }
}

/** Reads the frames one after another: a reader has one position, so this must not happen side by side. */
async function* storedFrames(
  batches: AsyncIterable<FrameRecord[]>,
  frames: ByteReader,
  unreadable: (problem: string) => void,
): AsyncGenerator<{ batch: FrameRecord[]; stored: Uint8Array<ArrayBuffer> }, void, void> {
  for await (const batch of batches) {
    const length = batch.reduce((sum, record) => sum + record.storedLength, 0)
    const bytes = await frames.read(length).catch(error => {
      // A sealed part ends where it does not open.
      if (!(error instanceof NexusError) || error.kind !== 'damage') throw error
      unreadable(error.message)
    })
    if (bytes === undefined) return
    yield { batch, stored: ownBuffer(bytes) }
  }
}

/** The bytes in a buffer that holds nothing else, so that it can be handed to another thread. */
export function ownBuffer(bytes: Buffer): Uint8Array<ArrayBuffer> {
  const { buffer, byteLength } = bytes
  return buffer instanceof ArrayBuffer && buffer.byteLength === byteLength
    ? new Uint8Array(buffer)
    : new Uint8Array(bytes)
}

/** Opens both parts of a member; where one cannot be opened that is told, and there is neither. */
export async function openParts(
  { index, frames }: ChainMember,
  problem: (part: string, text: string) => void,
): Promise<{ index: PartReader; frames: PartReader } | undefined> {
  const indexReader = await openPart(index, problem)
  const framesReader = await openPart(frames, problem)
  if (indexReader !== undefined && framesReader !== undefined) return { index: indexReader, frames: framesReader }
  await indexReader?.close()
  await framesReader?.close()
  return undefined
}

/** Opens a part for reading; one that is missing or damaged is told, and there is no reader. */
async function openPart(
  part: StoredPart,
  problem: (part: string, text: string) => void,
): Promise<PartReader | undefined> {
  try {
    const reader = await part.open()
    if (reader.size !== part.bytes) problem(part.name, `has ${reader.size} bytes instead of ${part.bytes}`)
    return reader
  } catch (error) {
    if (error instanceof NexusError && error.kind === 'damage') problem(part.name, error.message)
    else if (errnoOf(error) === 'ENOENT' || (error instanceof NexusError && error.kind === 'not-found')) {
      problem(part.name, 'is missing')
    } else throw error
    return undefined
  }
}

const CHUNK_BYTES = 1024 * 1024

/** A reader that hashes what passes through; `finish` reads the rest and tells the SHA-256. */
export function hashing(reader: ByteReader): ByteReader & { finish(): Promise<string> } {
  const hash = createHash('sha256')
  const isWhatIsStored = reader.storedSha256 === undefined
  const read = async (length: number) => {
    const bytes = await reader.read(length)
    if (isWhatIsStored) hash.update(bytes)
    return bytes
  }
  return {
    size: reader.size,
    read,
    close: () => reader.close(),
    async finish() {
      if (reader.storedSha256 !== undefined) return reader.storedSha256()
      while ((await read(CHUNK_BYTES)).length > 0);
      return hash.digest('hex')
    },
  }
}
