import { NexusError } from '../errors.js'
import type { FrameRecord } from './block-index.js'
import {
  BATCH_FRAMES,
  type ChainMember,
  type Finding,
  frameToOpen,
  hashing,
  openParts,
  ownBuffer,
  type Placement,
  records,
} from './chain.js'
import type { FileLayout } from './file-layout.js'
import { inOrder } from './ordered.js'
import type { PartReader, Work } from './types.js'
import type { WorkerPool } from './workers/pool.js'
import type { PlacedPiece } from './workers/tasks.js'

/** A frame with something that is wanted, and where it lies. */
interface WantedFrame {
  /** Its number in the part. */
  number: number
  position: number
  record: FrameRecord
  pieces: PlacedPiece[]
}

/**
 * Reads of one member the frames that `place` wants and no others. Every block of them is compared with its digest; the
 * index, which holds the digests, is read whole and compared with its SHA-256. Damage is collected, not thrown, and what
 * nobody wants is not looked at.
 *
 * @throws NexusError for anything that is not damage: unreadable files, full disks, signals
 */
export async function readWanted(
  member: ChainMember,
  layout: FileLayout,
  settings: { pool: WorkerPool; work: Work },
  place: Placement,
): Promise<Finding[]> {
  const findings: Finding[] = []
  const problem = (part: string, text: string) => findings.push({ part, problem: text })
  const parts = await openParts(member, problem)
  if (parts === undefined) return findings
  const { frames } = parts
  const index = hashing(parts.index)
  try {
    const wanted = wantedFrames(records(member, layout, index, problem), place)
    const unreadable = (text: string) => problem(member.frames.name, text)
    const opened = inOrder(stored(neighbours(wanted), frames, unreadable), settings.pool.width, async batch => {
      const list = batch.frames.map(({ record, pieces }) => ({ ...frameToOpen(layout, record), pieces }))
      const task = { kind: 'open' as const, digest: member.digest, stored: batch.bytes, frames: list }
      const { problems } = await settings.pool.run(task, [batch.bytes.buffer])
      return { frames: batch.frames, problems }
    })
    for await (const batch of opened) {
      settings.work.signal.throwIfAborted()
      for (const [at, { number, record }] of batch.frames.entries()) {
        const text = batch.problems[at] ?? null
        if (text !== null) problem(member.frames.name, `frame ${number} ${text}`)
        settings.work.advance(record.storedLength)
      }
    }
    if ((await index.finish()) !== member.index.sha256) {
      problem(member.index.name, 'SHA-256 differs from the one recorded')
    }
  } finally {
    await index.close()
    await frames.close()
  }
  return findings
}

async function* wantedFrames(
  all: AsyncIterable<FrameRecord>,
  place: Placement,
): AsyncGenerator<WantedFrame, void, void> {
  let number = 0
  let position = 0
  for await (const record of all) {
    const pieces = place(record)
    if (pieces !== null) yield { number, position, record, pieces }
    number += 1
    position += record.storedLength
  }
}

/** Frames that lie side by side are read at once, some at a time. */
async function* neighbours(frames: AsyncIterable<WantedFrame>): AsyncGenerator<WantedFrame[], void, void> {
  let batch: WantedFrame[] = []
  for await (const frame of frames) {
    const last = batch.at(-1)
    const isNext = last !== undefined && last.position + last.record.storedLength === frame.position
    if (batch.length > 0 && (!isNext || batch.length === BATCH_FRAMES)) {
      yield batch
      batch = []
    }
    batch.push(frame)
  }
  if (batch.length > 0) yield batch
}

async function* stored(
  batches: AsyncIterable<WantedFrame[]>,
  reader: PartReader,
  unreadable: (problem: string) => void,
): AsyncGenerator<{ frames: WantedFrame[]; bytes: Uint8Array<ArrayBuffer> }, void, void> {
  for await (const frames of batches) {
    const length = frames.reduce((sum, { record }) => sum + record.storedLength, 0)
    const bytes = await reader.readAt(frames[0]?.position ?? 0, length).catch(error => {
      // A sealed part ends where it does not open; another frame may.
      if (!(error instanceof NexusError) || error.kind !== 'damage') throw error
      unreadable(error.message)
    })
    if (bytes !== undefined) yield { frames, bytes: ownBuffer(bytes) }
  }
}
