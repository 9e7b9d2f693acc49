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
  /** Bytes that the file really has: what it lacks of a page that is not in the log either reads as zeros. */
  storedBytes: number
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
export function stagedImage(
  fd: number,
  { pageSize, pageCount, storedBytes }: Pick<LiveDatabase, 'pageSize' | 'pageCount' | 'storedBytes'>,
): FileImage {
  return liveImage({ fd, log: null, overlay: null, pageSize, pageCount, storedBytes })
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
    } else if (page === lockPage) append(list, ZEROS, 0, pageSize)
    else appendStored(list, database, page)
  }
  return list
}

/** SQLite reads what lies beyond the end of a file as zeros, in the middle of a page too (pager.c, readDbPage). */
function appendStored(list: Extent[], { fd, pageSize, storedBytes }: LiveDatabase, page: number): void {
  const position = (page - 1) * pageSize
  const stored = Math.max(0, Math.min(pageSize, storedBytes - position))
  if (stored > 0) append(list, fd, position, stored)
  if (stored < pageSize) append(list, ZEROS, 0, pageSize - stored)
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
