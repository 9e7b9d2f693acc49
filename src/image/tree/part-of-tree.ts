import { BlockSet } from '../block-set.js'
import { blocksOfFile } from '../file-layout.js'
import type { Tree } from './tree.js'
import type { TreeEntry } from './types.js'

/** Some of the entries of a tree. Its files keep the numbers that they have in the whole. */
export interface TreePart extends Tree {
  /** Whether a file is among them. */
  holds(file: number): boolean
  /** Blocks of the files among them. */
  readonly blocks: number
  /** Bytes of the files among them. */
  readonly bytes: number
}

/** Whether a tree is a part of one. */
export function isTreePart(tree: Tree): tree is TreePart {
  return 'holds' in tree
}

/**
 * A part of a tree, or of a part of one. A hard link in it to something that is not in it becomes what it names, a file with its content, and
 * its further names become hard links to that. Directories on the way to an entry of the part come with it.
 *
 * @param wanted is asked once for each entry, in the order of the tree
 */
export function partOfTree(tree: Tree, wanted: (entry: TreeEntry) => boolean): TreePart {
  const entries = new BlockSet(tree.size)
  // Of a part too: its files have the numbers of the whole.
  const files = new BlockSet(tree.layout.count)
  const directories = new Map<string, number>()
  const onTheWay = new Set<string>()
  /** Chosen entries that hard links may name and that have no number as files do. */
  const others = new Set<string>()
  const heads = new Map<string, Head>()
  let number = -1
  let file = -1
  for (const entry of tree.entries()) {
    number += 1
    const { path, type, link } = entry
    if (type === 'file') file = isTreePart(tree) ? (tree.fileNumber(path) ?? -1) : file + 1
    if (type === 'directory') directories.set(path, number)
    if (!wanted(entry)) continue
    entries.add(number)
    for (let at = parentOf(path); at !== '' && !onTheWay.has(at); at = parentOf(at)) onTheWay.add(at)
    if (type === 'file') files.add(file)
    else if (type !== 'directory' && type !== 'hardlink') others.add(path)
    else if (type === 'hardlink' && !heads.has(link)) {
      const named = tree.fileNumber(link)
      const isThere = named === undefined ? others.has(link) : files.has(named)
      if (!isThere) heads.set(link, { path, file: named, entry: null })
    }
  }
  for (const [path, at] of directories) if (onTheWay.has(path)) entries.add(at)
  completeHeads(tree, heads)
  return new Part(tree, { entries, files, heads })
}

/** The name that takes the place of one that is not chosen. */
interface Head {
  path: string
  /** Number of the file that it names; undefined for what is no file. */
  file: number | undefined
  /** What it names, where that is no file. */
  entry: TreeEntry | null
}

/** What has no number is looked for by its path; few trees have hard links of such. */
function completeHeads(tree: Tree, heads: ReadonlyMap<string, Head>): void {
  if (![...heads.values()].some(({ file }) => file === undefined)) return
  for (const entry of tree.entries()) {
    const head = heads.get(entry.path)
    if (head !== undefined && head.file === undefined) head.entry = entry
  }
}

interface Chosen {
  /** By number among all entries, and among the files. */
  entries: BlockSet
  files: BlockSet
  /** By the name that is not chosen. */
  heads: ReadonlyMap<string, Head>
}

class Part implements TreePart {
  readonly layout: Tree['layout']
  readonly blocks: number
  readonly bytes: number
  readonly #tree: Tree
  readonly #chosen: Chosen
  /** New paths of files by their numbers, and the other way round. */
  readonly #paths = new Map<number, string>()
  readonly #numbers = new Map<string, number>()

  constructor(tree: Tree, chosen: Chosen) {
    this.#tree = tree
    this.#chosen = chosen
    this.layout = tree.layout
    for (const { path, file } of chosen.heads.values()) {
      if (file === undefined) continue
      chosen.files.add(file)
      this.#paths.set(file, path)
      this.#numbers.set(path, file)
    }
    let [blocks, bytes] = [0, 0]
    for (let file = 0; file < tree.layout.count; file += 1) {
      if (!chosen.files.has(file)) continue
      blocks += blocksOfFile(tree.layout, file)
      bytes += tree.layout.sizeOf(file)
    }
    this.blocks = blocks
    this.bytes = bytes
  }

  get count(): number {
    return this.#chosen.files.count
  }

  get size(): number {
    return this.#chosen.entries.count
  }

  holds(file: number): boolean {
    return this.#chosen.files.has(file)
  }

  fileNumber(path: string): number | undefined {
    const renamed = this.#numbers.get(path)
    if (renamed !== undefined) return renamed
    const file = this.#tree.fileNumber(path)
    return file !== undefined && this.holds(file) && !this.#paths.has(file) ? file : undefined
  }

  fileEntry(file: number): TreeEntry {
    const entry = this.#tree.fileEntry(file)
    return { ...entry, path: this.#paths.get(file) ?? entry.path }
  }

  *entries(): Generator<TreeEntry, void, void> {
    let number = -1
    for (const entry of this.#tree.entries()) {
      number += 1
      if (!this.#chosen.entries.has(number)) continue
      const head = entry.type === 'hardlink' ? this.#chosen.heads.get(entry.link) : undefined
      if (head === undefined) yield entry
      else if (head.path !== entry.path) yield { ...entry, link: head.path }
      else if (head.file !== undefined) yield this.fileEntry(head.file)
      else yield { ...(head.entry ?? entry), path: entry.path }
    }
  }
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')))
}
