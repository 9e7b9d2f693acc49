import { frameChecksum, indexWal, type WalChecksum, type WalHeader } from './wal.js'

/** A position in a write-ahead log, as a backup's facts keep it. */
export interface WalPosition {
  salts: string
  /** Number of the last frame of the image; 0 for none. */
  frame: number
  checksum: WalChecksum
}

/** What a capture knows of the log that it reads. */
export interface LogNow {
  log: number
  header: WalHeader
  position: WalPosition
  /** Pages of the image. */
  pageCount: number
}

/**
 * Blocks that may differ between an earlier image and the one now, ascending, when the log has not been started over
 * in between: then everything written since is in its newer frames. Null when only reading all pages can tell.
 */
export async function changedSince(
  earlier: { wal: unknown; blocks: number },
  now: LogNow,
  signal: AbortSignal,
): Promise<Uint32Array | null> {
  const before = positionIn(earlier.wal)
  const { position, header } = now
  if (before === null || before.salts !== position.salts || header.salts !== position.salts) return null
  if (before.frame > position.frame) return null
  // Equal salts do not prove that the frames are those we saw: after a crash they may have been written anew. The
  // running checksum does.
  const stood = await frameChecksum(now.log, header, before.frame)
  if (stood === null || stood[0] !== before.checksum[0] || stood[1] !== before.checksum[1]) return null
  const range = { from: before.frame, start: stood, to: position.frame, end: position.checksum }
  const written = await indexWal(now.log, header, range, signal)
  if (written === null) return null
  return candidates(written.pages, Math.min(earlier.blocks, now.pageCount, written.smallest), now.pageCount)
}

/**
 * Pages written since, as block numbers, and every block from `steady` on, the fewest blocks there ever were in
 * between: what was cut off and grown again, or is new, need not have been written.
 */
function candidates(pages: Uint32Array, steady: number, blocks: number): Uint32Array {
  const written = pages.filter(page => page <= steady).map(page => page - 1)
  const all = new Uint32Array(written.length + blocks - steady)
  all.set(written)
  for (let block = steady; block < blocks; block += 1) all[written.length + block - steady] = block
  return all
}

/** A manifest is input from outside: anything but a position means that none is known. */
function positionIn(value: unknown): WalPosition | null {
  if (typeof value !== 'object' || value === null) return null
  const { salts, frame, checksum } = value as Partial<Record<keyof WalPosition, unknown>>
  if (typeof salts !== 'string' || !isWord(frame) || !Array.isArray(checksum)) return null
  const [first, second]: unknown[] = checksum
  return isWord(first) && isWord(second) ? { salts, frame, checksum: [first, second] } : null
}

function isWord(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff
}
