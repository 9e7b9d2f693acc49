/** Sizes and places of an image's files, as far as the engine needs them for a chain: no names, a few bytes a file. */
export interface FileLayout {
  /** Number of files. */
  readonly count: number
  /** Blocks of all files. */
  readonly rows: number
  /** Bytes of a block in a file. */
  blockSizeOf(file: number): number
  /** Bytes. */
  sizeOf(file: number): number
  /** Row of the file's first block in the digest table. */
  firstRowOf(file: number): number
  /** Number of the file in the parent's image that this one continues; -1 for none. Of no meaning in a full. */
  baseOf(file: number): number
}

/** Number of a file's blocks. */
export function blocksOfFile(layout: FileLayout, file: number): number {
  return Math.ceil(layout.sizeOf(file) / layout.blockSizeOf(file))
}

/** The layout of an image whose files stand in its manifest; each continues the one with its number (SQLite: the only one). */
export function listedFiles(files: readonly { size: number; block_size: number }[]): FileLayout {
  const rows = new Float64Array(files.length)
  let next = 0
  for (const [number, file] of files.entries()) {
    rows[number] = next
    next += Math.ceil(file.size / file.block_size)
  }
  return {
    count: files.length,
    rows: next,
    blockSizeOf: file => files[file]?.block_size ?? 512,
    sizeOf: file => files[file]?.size ?? 0,
    firstRowOf: file => rows[file] ?? 0,
    baseOf: file => file,
  }
}
