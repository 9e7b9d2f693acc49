import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { byShortPath } from '../../system/long-paths.js'
import type { PlacedPiece } from './tasks.js'

/** Granularity of holes: a page, the smallest that common file systems have. */
const HOLE_BYTES = 4096
const zeros = Buffer.alloc(HOLE_BYTES)

/**
 * Writes pieces of a frame to their files. Pieces of one file stand together, so it is opened once; it is never
 * created here and never followed as a link.
 */
export function placePieces(plain: Uint8Array, pieces: readonly PlacedPiece[]): void {
  let path: string | undefined
  let fd = -1
  try {
    for (const { to, position, offset, length } of pieces) {
      if (typeof to === 'number') {
        writeAll(to, plain, offset, length, position)
        continue
      }
      if (to.path !== path) {
        if (path !== undefined) closeSync(fd)
        path = undefined
        fd = byShortPath(to.path, at => openSync(at, constants.O_WRONLY | constants.O_NOFOLLOW))
        path = to.path
      }
      if (to.sparse) writeData(fd, plain, offset, length, position)
      else writeAll(fd, plain, offset, length, position)
    }
  } finally {
    if (path !== undefined) closeSync(fd)
  }
}

/** Writes what is not zeros. */
function writeData(fd: number, bytes: Uint8Array, offset: number, length: number, position: number): void {
  const isData = (at: number) => {
    const end = Math.min(at + HOLE_BYTES, length)
    return zeros.compare(bytes, offset + at, offset + end, 0, end - at) !== 0
  }
  for (let at = 0; at < length; ) {
    if (!isData(at)) {
      at += HOLE_BYTES
      continue
    }
    let end = at + HOLE_BYTES
    while (end < length && isData(end)) end += HOLE_BYTES
    writeAll(fd, bytes, offset + at, Math.min(end, length) - at, position + at)
    at = end
  }
}

function writeAll(fd: number, bytes: Uint8Array, offset: number, length: number, position: number): void {
  let done = 0
  while (done < length) done += writeSync(fd, bytes, offset + done, length - done, position + done)
}
