import type { FileImage } from '../../image/file-image.js'
import { type Extent, ZEROS } from '../../image/types.js'
import { lockBytePage } from './header.js'
import { framePosition, type WalIndex } from './wal.js'

/** The parts of a database that is being read beside its writers. */
export interface LiveDatabase {
  fd: number
  log: number | null
  /** Pages whose newest content is in the log; null when the file alone is the image. */
  overlay: WalIndex | null
  pageSize: number
  pageCount: number
  /** Pages that the file really has: a new free page may be in neither file nor log, and reads as zeros. */
  storedPages: number
}

/** The image of a database in WAL mode: each page from the log where that has it, else from the file. */
export function liveImage(database: LiveDatabase): FileImage {
  return {
    size: database.pageCount * database.pageSize,
    blockSize: database.pageSize,
    extents: (first, count) => extents(database, first, count),
  }
}

/** The image of a private copy. */
export function stagedImage(fd: number, pageSize: number, pageCount: number): FileImage {
  return liveImage({ fd, log: null, overlay: null, pageSize, pageCount, storedPages: pageCount })
}

function extents(database: LiveDatabase, first: number, count: number): Extent[] {
  const list: Extent[] = []
  const { pageSize } = database
  const { pages, frames } = database.overlay ?? { pages: new Uint32Array(0), frames: new Uint32Array(0) }
  const lockPage = lockBytePage(pageSize)
  let next = lowerBound(pages, first + 1)
  for (let page = first + 1; page <= first + count; page += 1) {
    if (pages[next] === page) {
      if (page !== lockPage) append(list, database.log ?? ZEROS, framePosition(frames[next] ?? 0, pageSize), pageSize)
      else append(list, ZEROS, 0, pageSize)
      next += 1
    } else if (page === lockPage || page > database.storedPages) append(list, ZEROS, 0, pageSize)
    else append(list, database.fd, (page - 1) * pageSize, pageSize)
  }
  return list
}

/** Joins what continues the last extent: a quiet megabyte is one read. */
function append(list: Extent[], fd: number, position: number, length: number): void {
  const last = list.at(-1)
  if (last !== undefined && last.fd === fd && (fd === ZEROS || last.position + last.length === position)) {
    last.length += length
  } else list.push({ fd, position, length })
}

function lowerBound(sorted: Uint32Array, value: number): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((sorted[middle] ?? 0) < value) low = middle + 1
    else high = middle
  }
  return low
}
