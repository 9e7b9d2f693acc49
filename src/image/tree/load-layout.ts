import { DamagedPart, type StoredPart } from '../chain.js'
import type { FileLayout } from '../file-layout.js'
import { LayoutScanner } from './layout-bytes.js'
import { layoutOfLine } from './layout-lines.js'
import { PathIndex } from './path-index.js'
import { NEWLINE, readTreeBytes, readTreeLines } from './read-lines.js'
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
  const reading = { part, counts, layout, entries: 0 }
  if (take === null) {
    for await (const bytes of readTreeBytes(part)) addLayouts(reading, bytes)
  } else {
    for await (const lines of readTreeLines(part)) {
      for (const line of lines) {
        const problem = takeEntry(reading, line, take)
        checkEntry(reading, problem)
      }
    }
  }
  const { files, rows, bytes } = layout
  const { entries } = reading
  if (entries !== counts.entries || files !== counts.files || rows !== counts.rows || bytes !== counts.bytes) {
    throw new DamagedPart(part.name, 'lists other files than the manifest counts')
  }
  const finished = layout.finish()
  if (!basesAreUnique(finished)) throw new DamagedPart(part.name, 'continues a file of its parent twice')
  return finished
}

/** A list that is being read. */
interface Reading {
  part: StoredPart
  counts: TreeCounts
  layout: TreeLayoutBuilder
  entries: number
}

/** Adds what whole lines say of files, of which few are made into strings. */
function addLayouts(reading: Reading, bytes: Buffer): void {
  const { counts, layout } = reading
  const scanner = new LayoutScanner()
  const isPlain = counts.plain === true
  for (let at = 0; at < bytes.length; ) {
    const next = scanner.scan(bytes, at, isPlain)
    let problem: string | null = null
    if (next >= 0) {
      if (scanner.isFile) layout.add(scanner.size, scanner.base)
      at = next
    } else {
      const end = bytes.indexOf(NEWLINE, at)
      problem = addLayout(reading, bytes.toString('utf8', at, end))
      at = end + 1
    }
    checkEntry(reading, problem)
  }
}

/** The same of one line in any form. @returns what is wrong with it */
function addLayout({ counts, layout }: Reading, line: string): string | null {
  const found = layoutOfLine(line, counts.plain === true)
  if (found !== undefined) {
    if (found !== null) layout.add(found.size, found.base ?? -1)
    return null
  }
  const entry = judgedEntry(line, counts)
  if (typeof entry === 'string') return entry
  if (entry.type === 'file') layout.add(entry.size, entry.base ?? -1)
  return null
}

function takeEntry(
  { counts, layout }: Reading,
  line: string,
  take: (entry: TreeEntry, file: number) => string | null,
): string | null {
  const entry = judgedEntry(line, counts)
  if (typeof entry === 'string') return entry
  const problem = take(entry, entry.type === 'file' ? layout.files : -1)
  if (problem === null && entry.type === 'file') layout.add(entry.size, entry.base ?? -1)
  return problem
}

/** @throws DamagedPart where the entry that was read last is none, or one too many */
function checkEntry(reading: Reading, problem: string | null): void {
  const { part, counts, layout } = reading
  reading.entries += 1
  const { entries } = reading
  if (entries > counts.entries) throw new DamagedPart(part.name, `has more than ${counts.entries} entries`)
  if (problem !== null) throw new DamagedPart(part.name, `cannot be used: entry ${entries} ${problem}`)
  if (layout.bytes > counts.bytes) throw new DamagedPart(part.name, 'lists larger files than the manifest counts')
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
