import { NexusError } from '../errors.js'
import { giveBack } from '../give-back.js'
import { BlockIndexWriter, type FrameRecord, type IndexedRun, indexedRun, MAX_RUNS } from './block-index.js'
import { recordDigests, rowsBefore } from './digest-rows.js'
import type { DigestTable } from './digest-table.js'
import { layOut, type PlacedRun } from './frame-layout.js'
import { inBatches, inOrder } from './ordered.js'
import { type ByteSink, DIGEST_BYTES, type DigestKind, FRAME_BYTES, type Frame, type Work } from './types.js'
import type { WorkerPool } from './workers/pool.js'

/** zstd level of a full's frames: the floor of design section 8 is `zstd -1`. */
const FULL_LEVEL = 1

/**
 * zstd level of changed blocks. Finding them takes most of an increment's time, so a better level costs little of it and
 * saves a fifth of what a cluster's increment stores.
 */
const CHANGES_LEVEL = 3

/** Frames that a thread makes for one message: the wake-ups of a message for each cost a tenth of a backup. */
const BATCH_FRAMES = 4

/** Where a backup's bytes go. */
export interface StoreTarget {
  part: ByteSink
  index: ByteSink
  /** Receives the digest of every block stored or compared. */
  table: DigestTable
}

export interface StoreSettings {
  pool: WorkerPool
  digest: DigestKind
  work: Work
}

/** Blocks written to the part. */
export interface StoredCount {
  blocks: number
}

/**
 * Stores every byte of a stream: the part decompresses to exactly that stream.
 *
 * @throws NexusError from reading the source, writing the part, or `interrupted`
 */
export async function storeAll(
  frames: AsyncIterable<Frame> | Iterable<Frame>,
  target: StoreTarget,
  settings: StoreSettings,
): Promise<StoredCount> {
  const index = new BlockIndexWriter(target.index)
  await index.begin()
  let blocks = 0
  const stored = inOrder(inBatches(frames, BATCH_FRAMES), settings.pool.width, async batch => {
    const layouts = batch.map(layOut)
    const list = layouts.map(layout => layout.task)
    const moved = layouts.flatMap(layout => layout.moved)
    const task = { kind: 'store' as const, digest: settings.digest, level: FULL_LEVEL, frames: list }
    return { layouts, result: await settings.pool.run(task, moved) }
  })
  for await (const { layouts, result } of stored) {
    settings.work.signal.throwIfAborted()
    await target.part.write(result.stored)
    giveBack(result.stored)
    let row = 0
    for (const [number, layout] of layouts.entries()) {
      const bytes = DIGEST_BYTES * layout.runs.reduce((sum, { run }) => sum + run.count, 0)
      const digests = result.digests.subarray(row, row + bytes)
      const runs = layout.runs.map(({ run, offset }) => indexedRun(run, offset))
      await index.add(record(result.lengths[number] ?? 0, layout.task.length, runs, digests))
      blocks += recordDigests(layout.runs, digests, target.table)
      settings.work.advance(layout.task.length)
      row += bytes
    }
  }
  await index.end()
  return { blocks }
}

/**
 * Stores the blocks of a stream whose digests differ from those of an earlier image, in the rows of `before` that each
 * run names; a block without such a row counts as changed.
 *
 * @throws NexusError from reading the source, writing the part, or `interrupted`
 */
export async function storeChanged(
  frames: AsyncIterable<Frame> | Iterable<Frame>,
  before: DigestTable,
  target: StoreTarget,
  settings: StoreSettings,
): Promise<StoredCount> {
  const index = new BlockIndexWriter(target.index)
  await index.begin()
  let blocks = 0
  const packs = packChanges(scan(frames, before, target.table, settings))
  const packed = inOrder(packs, settings.pool.width, async pack => {
    const length = pack.bytes.length
    const { stored } = await settings.pool.run({ kind: 'pack', level: CHANGES_LEVEL, bytes: pack.bytes }, [
      pack.bytes.buffer,
    ])
    return { stored, length, pack }
  })
  for await (const { stored, length, pack } of packed) {
    settings.work.signal.throwIfAborted()
    await target.part.write(stored)
    await index.add(record(stored.length, length, pack.runs, pack.digests))
    giveBack(stored)
    blocks += pack.digests.length / DIGEST_BYTES
  }
  await index.end()
  return { blocks }
}

const nothing = { digests: new Uint8Array(0), changed: new Uint32Array(0), bytes: new Uint8Array(0) }

/** Changed blocks of one scanned frame, with the runs they came from. */
interface Changes {
  runs: IndexedRun[]
  digests: Uint8Array
  bytes: Uint8Array
}

async function* scan(
  frames: AsyncIterable<Frame> | Iterable<Frame>,
  before: DigestTable,
  table: DigestTable,
  settings: StoreSettings,
): AsyncGenerator<Changes, void, void> {
  const scanned = inOrder(frames, settings.pool.width, async frame => {
    const layout = layOut(frame)
    if (layout.runs.length === 0) return { layout, result: nothing }
    const rows = rowsBefore(layout.runs, before)
    const task = { kind: 'scan' as const, digest: settings.digest, ...layout.task, ...rows }
    return { layout, result: await settings.pool.run(task, layout.moved) }
  })
  for await (const { layout, result } of scanned) {
    settings.work.signal.throwIfAborted()
    recordDigests(layout.runs, result.digests, table)
    settings.work.advance(layout.task.length)
    if (result.changed.length > 0) yield changesOf(layout.runs, result)
  }
}

/** Gathers changed blocks into frames of about FRAME_BYTES, so that scattered ones compress as well as dense ones. */
async function* packChanges(changes: AsyncIterable<Changes>): AsyncGenerator<Pack, void, void> {
  let waiting: Changes[] = []
  let bytes = 0
  let runs = 0
  for await (const change of changes) {
    // Files of a few bytes make many runs of little content, and a reader takes only so many.
    if (waiting.length > 0 && runs + change.runs.length > MAX_RUNS) {
      yield join(waiting, bytes)
      waiting = []
      bytes = 0
      runs = 0
    }
    waiting.push(change)
    bytes += change.bytes.length
    runs += change.runs.length
    if (bytes >= FRAME_BYTES) {
      yield join(waiting, bytes)
      waiting = []
      bytes = 0
      runs = 0
    }
  }
  if (bytes > 0) yield join(waiting, bytes)
}

interface Pack {
  runs: IndexedRun[]
  digests: Uint8Array<ArrayBuffer>
  bytes: Uint8Array<ArrayBuffer>
}

function join(changes: Changes[], length: number): Pack {
  const bytes = new Uint8Array(length)
  const digests = new Uint8Array(changes.reduce((sum, change) => sum + change.digests.length, 0))
  const runs: IndexedRun[] = []
  let at = 0
  let row = 0
  for (const change of changes) {
    bytes.set(change.bytes, at)
    digests.set(change.digests, row)
    for (const run of change.runs) runs.push({ ...run, offset: run.offset + at })
    at += change.bytes.length
    row += change.digests.length
  }
  return { runs, digests, bytes }
}

/** Turns positions of changed blocks into runs of neighbours, with offsets into the changed bytes. */
function changesOf(
  runs: readonly PlacedRun[],
  result: { changed: Uint32Array; digests: Uint8Array; bytes: Uint8Array },
): Changes {
  const indexed: IndexedRun[] = []
  const digests = new Uint8Array(result.changed.length * DIGEST_BYTES)
  let position = 0
  let first = 0
  let next = 0
  for (const { run, length } of runs) {
    let open: IndexedRun | undefined
    for (; next < result.changed.length; next += 1) {
      const index = result.changed[next] ?? 0
      if (index >= first + run.count) break
      const block = index - first
      const row = index * DIGEST_BYTES
      digests.set(result.digests.subarray(row, row + DIGEST_BYTES), next * DIGEST_BYTES)
      if (open !== undefined && open.first + open.count === run.first + block) open.count += 1
      else {
        open = { file: run.file, first: run.first + block, count: 1, offset: position }
        indexed.push(open)
      }
      position += Math.min(run.blockSize, length - block * run.blockSize)
    }
    first += run.count
  }
  return { runs: indexed, digests, bytes: result.bytes }
}

function record(
  storedLength: number,
  plainLength: number,
  runs: IndexedRun[],
  digests: Uint8Array<ArrayBuffer>,
): FrameRecord {
  if (storedLength === 0) throw new NexusError('failed', 'empty_frame', 'the compressor returned an empty frame')
  return { storedLength, plainLength, runs, digests }
}
