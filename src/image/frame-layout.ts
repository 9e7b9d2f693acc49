import type { BlockRun, Frame } from './types.js'
import type { TaskBytes, TaskRun } from './workers/tasks.js'

/** A run with its place in the plain bytes of a frame. */
export interface PlacedRun {
  run: BlockRun
  offset: number
  length: number
}

/** A frame as it is sent to a thread. */
export interface FrameLayout {
  task: { bytes: TaskBytes[]; length: number; runs: TaskRun[] }
  runs: PlacedRun[]
  /** Buffers that go to the thread with the task. */
  moved: ArrayBuffer[]
}

/** Where the runs of a frame lie in its bytes. */
export function layOut(frame: Frame): FrameLayout {
  const runs: PlacedRun[] = []
  let length = 0
  for (const span of frame) {
    if (span.run !== null) runs.push({ run: span.run, offset: length, length: span.length })
    length += span.length
  }
  const taskRuns = runs.map(({ run, offset, length: bytes }) => {
    return { offset, length: bytes, blockSize: run.blockSize, count: run.count }
  })
  const whole = inOneBuffer(frame, length)
  const bytes = whole === null ? frame.map(span => span.from) : [whole]
  return { task: { bytes, length, runs: taskRuns }, runs, moved: whole === null ? [] : [whole.buffer] }
}

/** The bytes of spans that lie side by side in one buffer. A thousand views of it would be copied a thousand times. */
function inOneBuffer(frame: Frame, length: number): Uint8Array<ArrayBuffer> | null {
  const first = frame[0]?.from
  if (!(first instanceof Uint8Array)) return null
  let at = first.byteOffset
  for (const { from } of frame) {
    if (!(from instanceof Uint8Array) || from.buffer !== first.buffer || from.byteOffset !== at) return null
    at += from.length
  }
  return new Uint8Array(first.buffer, first.byteOffset, length)
}
