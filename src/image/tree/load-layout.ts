import { DamagedPart, type StoredPart } from '../chain.js'
import type { FileLayout } from '../file-layout.js'
import { layoutOfLine } from './layout-lines.js'
import { PathIndex } from './path-index.js'
import { readTreeLines } from './read-lines.js'
import { checkedEntry, isPlainEntry } from './tree-entry.js'
import { basesAreUnique, TreeLayoutBuilder } from './tree-layout.js'
import type { TreeEntry } from './types.js'

/** What a manifest says of its tree; the part must agree. */
export interface TreeCounts {
  /** Bytes of a block. */
  blockSize: number
  entries: number
  files: number
  /** Blocks of all files. */
  rows: number
  /** Bytes of all files. */
  bytes: number
  /**
   * Of a cluster, which consists of files, directories and links: a device, or capabilities, in its list would give the
   * user of its server what only root has.
   */
  plain?: boolean
}

/**
 * Sizes and bases of a tree's files and nothing else, in 20 bytes a file: what a chain needs of its older members. Nothing
 * of theirs is made, so of a line in the usual form no more is read than that.
 *
 * @throws DamagedPart when the part is not what was stored, or what is read of it breaks a rule
 */
export async function loadLayout(part: StoredPart, counts: TreeCounts): Promise<FileLayout> {
  return readTree(part, counts, null)
}

/** The same, with every rule that a restore will ask for: paths, links and what lies where. @throws DamagedPart */
export async function checkTree(part: StoredPart, counts: TreeCounts): Promise<FileLayout> {
  const paths = new PathIndex()
  return readTree(part, counts, (entry, file) => paths.add(entry, file))
}

/**
 * Reads a tree part entry by entry. Everything in it is input from outside.
 * @param take what to do with an entry and, for a file, its number; returns what is wrong with it. Null where sizes and
 *   bases are all that is wanted
 * @throws DamagedPart
 */
export async function readTree(
  part: StoredPart,
  counts: TreeCounts,
  take: ((entry: TreeEntry, file: number) => string | null) | null,
): Promise<FileLayout> {
  const layout = new TreeLayoutBuilder(counts.blockSize)
  const takeLine = (line: string): string | null => {
    const file = take === null ? layoutOfLine(line, counts.plain === true) : undefined
    if (file !== undefined) {
      if (file !== null) layout.add(file.size, file.base)
      return null
    }
    const entry = judgedEntry(line, counts)
    if (typeof entry === 'string') return entry
    const problem = take?.(entry, entry.type === 'file' ? layout.files : -1) ?? null
    if (problem === null && entry.type === 'file') layout.add(entry.size, entry.base)
    return problem
  }
  let entries = 0
  for await (const lines of readTreeLines(part)) {
    for (const line of lines) {
      entries += 1
      if (entries > counts.entries) throw new DamagedPart(part.name, `has more than ${counts.entries} entries`)
      const problem = takeLine(line)
      if (problem !== null) throw new DamagedPart(part.name, `cannot be used: entry ${entries} ${problem}`)
      if (layout.bytes > counts.bytes) throw new DamagedPart(part.name, 'lists larger files than the manifest counts')
    }
  }
  const { files, rows, bytes } = layout
  if (entries !== counts.entries || files !== counts.files || rows !== counts.rows || bytes !== counts.bytes) {
    throw new DamagedPart(part.name, 'lists other files than the manifest counts')
  }
  const finished = layout.finish()
  if (!basesAreUnique(finished)) throw new DamagedPart(part.name, 'continues a file of its parent twice')
  return finished
}

/** An entry, or what is wrong with it. */
function judgedEntry(line: string, { plain }: TreeCounts): TreeEntry | string {
  const checked = checkedEntry(parsed(line))
  if (typeof checked === 'string' || plain !== true || isPlainEntry(checked)) return checked
  return 'is what no cluster has'
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
