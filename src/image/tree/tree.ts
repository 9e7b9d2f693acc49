import type { StoredPart } from '../chain.js'
import type { FileLayout } from '../file-layout.js'
import { EntryStore } from './entry-store.js'
import { readTree, type TreeCounts } from './load-layout.js'
import { PathIndex } from './path-index.js'
import type { TreeEntry } from './types.js'

/** A parent's tree as a source sees it when it decides what a new file continues. */
export interface TreePaths {
  readonly layout: FileLayout
  /** Number of the file with this path; undefined when there is none. */
  fileNumber(path: string): number | undefined
  /** Entries of type file, by number; made anew each time. */
  fileEntry(file: number): TreeEntry
  /** Number of files. */
  readonly count: number
}

/** A stored list of entries, read and checked. */
export interface Tree extends TreePaths {
  /** Number of entries of all types. */
  readonly size: number
  /** All entries in the order of the image, made anew each time. */
  entries(): Iterable<TreeEntry>
}

/** A whole tree, in which every entry is found by its path. */
export interface LoadedTree extends Tree {
  /** The entry with this path, made anew each time; undefined when there is none. */
  find(path: string): TreeEntry | undefined
}

/**
 * Reads and checks a stored list of entries: its SHA-256, every path inside and there once, nothing below what is no
 * directory, hard links that name an earlier file, no file continued twice, the counts of the manifest. About 150
 * bytes an entry stay in memory.
 *
 * @throws DamagedPart
 */
export async function loadTree(part: StoredPart, counts: TreeCounts): Promise<LoadedTree> {
  const paths = new PathIndex()
  const store = new EntryStore()
  const layout = await readTree(part, counts, (entry, file) => {
    store.add(entry, file)
    return paths.add(entry, file)
  })
  const entryAt = (number: number) => {
    const { entry, file } = store.entry(number)
    if (file < 0) return entry
    const base = layout.baseOf(file)
    return { ...entry, size: layout.sizeOf(file), base: base < 0 ? null : base }
  }
  return {
    layout,
    count: layout.count,
    size: store.size,
    fileNumber: path => paths.fileNumber(path),
    find(path) {
      const number = paths.entryNumber(path)
      return number === undefined ? undefined : entryAt(number)
    },
    fileEntry: file => entryAt(store.numberOfFile(file)),
    *entries() {
      for (let number = 0; number < store.size; number += 1) yield entryAt(number)
    },
  }
}
