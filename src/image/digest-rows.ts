import type { FrameRecord } from './block-index.js'
import type { DigestTable } from './digest-table.js'
import { blocksOfFile, type FileLayout } from './file-layout.js'
import type { PlacedRun } from './frame-layout.js'
import { RowRanges } from './row-ranges.js'
import { DIGEST_BYTES } from './types.js'

/** The digests that a frame's blocks are compared with. */
export function rowsBefore(
  runs: readonly PlacedRun[],
  before: DigestTable,
): { known: Uint32Array<ArrayBuffer>; before: Uint8Array<ArrayBuffer> } {
  const known = Uint32Array.from(runs, ({ run }) => {
    return run.before === null ? 0 : Math.max(0, Math.min(run.count, run.before.count, before.rows - run.before.row))
  })
  const digests = new Uint8Array(known.reduce((sum, count) => sum + count, 0) * DIGEST_BYTES)
  const ranges = new RowRanges((from, to, count) =>
    before.read(from, digests.subarray(to * DIGEST_BYTES, (to + count) * DIGEST_BYTES)),
  )
  let at = 0
  for (const [number, { run }] of runs.entries()) {
    const count = known[number] ?? 0
    if (run.before !== null) ranges.add(run.before.row, at, count)
    at += count
  }
  ranges.end()
  return { known, before: digests }
}

/** Puts the digests of a frame's blocks into their rows; returns how many there are. */
export function recordDigests(runs: readonly PlacedRun[], digests: Uint8Array, table: DigestTable): number {
  const ranges = new RowRanges((from, row, count) =>
    table.put(row, digests.subarray(from * DIGEST_BYTES, (from + count) * DIGEST_BYTES)),
  )
  let at = 0
  for (const { run } of runs) {
    ranges.add(at, run.row, run.count)
    at += run.count
  }
  ranges.end()
  return at
}

/** Puts the digests of an indexed frame into the table of the image it is part of, where `place` says. */
export function applyDigests(
  record: FrameRecord,
  table: DigestTable,
  place: (file: number, block: number) => number | null,
): void {
  const ranges = new RowRanges((from, row, count) =>
    table.put(row, record.digests.subarray(from * DIGEST_BYTES, (from + count) * DIGEST_BYTES)),
  )
  let at = 0
  for (const run of record.runs) {
    for (let block = run.first; block < run.first + run.count; block += 1) {
      const row = place(run.file, block)
      if (row !== null) ranges.add(at, row, 1)
      at += 1
    }
  }
  ranges.end()
}

/** Takes over what the files of an image have of their parent's digests. */
export function carryDigests(
  from: { layout: FileLayout; table: DigestTable },
  to: { layout: FileLayout; table: DigestTable },
): void {
  const ranges = new RowRanges((old, row, count) => to.table.copyRows(from.table, old, row, count))
  for (let file = 0; file < to.layout.count; file += 1) {
    const base = to.layout.baseOf(file)
    if (base < 0) continue
    const count = Math.min(blocksOfFile(to.layout, file), blocksOfFile(from.layout, base))
    ranges.add(from.layout.firstRowOf(base), to.layout.firstRowOf(file), count)
  }
  ranges.end()
}
