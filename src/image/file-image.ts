import type { Extent, Frame } from './types.js'
import { FRAME_BYTES } from './types.js'

/** One file as an image: cut into blocks of equal size, the last one perhaps short. */
export interface FileImage {
  /** Bytes. */
  size: number
  blockSize: number
  /** Where the bytes of these blocks are; asked in ascending order. */
  extents(first: number, count: number): Extent[]
}

/** All blocks of a file, in frames. */
export function* allFrames(image: FileImage, frameBytes = FRAME_BYTES): Generator<Frame, void, void> {
  const blocks = Math.ceil(image.size / image.blockSize)
  const step = Math.max(1, Math.floor(frameBytes / image.blockSize))
  for (let first = 0; first < blocks; first += step) {
    yield frameOf(image, first, Math.min(step, blocks - first))
  }
}

/** Only the given blocks of a file (ascending, no doubles), neighbours joined, in frames. */
export function* someFrames(
  image: FileImage,
  blocks: Uint32Array,
  frameBytes = FRAME_BYTES,
): Generator<Frame, void, void> {
  const most = Math.max(1, Math.floor(frameBytes / image.blockSize))
  let frame: Frame = []
  let held = 0
  for (let at = 0; at < blocks.length; ) {
    const first = blocks[at] ?? 0
    let count = 1
    while (held + count < most && blocks[at + count] === first + count) count += 1
    frame.push(...frameOf(image, first, count))
    held += count
    at += count
    if (held >= most) {
      yield frame
      frame = []
      held = 0
    }
  }
  if (frame.length > 0) yield frame
}

function frameOf(image: FileImage, first: number, count: number): Frame {
  const length = Math.min((first + count) * image.blockSize, image.size) - first * image.blockSize
  const before = { row: first, count }
  const run = { file: 0, first, count, blockSize: image.blockSize, row: first, before }
  return [{ from: image.extents(first, count), length, run }]
}
