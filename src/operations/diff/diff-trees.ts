import { NexusError } from '../../errors.js'
import type { LoadedTree } from '../../image/tree/tree.js'
import type { TreeEntry } from '../../image/tree/types.js'
import { Chooser } from '../../sources/files/choose.js'
import { pathOf, patternRoots } from '../list/listed-file.js'
import { shellQuoted } from '../shell.js'
import { treeOf } from '../trees/tree-part.js'
import { changedBlocks, type Digested } from './content.js'
import type { ChangedFact, DiffEntry, DiffResult } from './results.js'
import { headOf, isSameBackup, type Side, type Sides } from './side.js'

/** Times as they are restored: to the microsecond. */
const TIME_ERROR_SECONDS = 2e-6

/** Entries of trees that differ, in the order of the second backup, then those that only the first one has. */
export async function diffTrees(
  sides: Sides,
  pattern: string | undefined,
): Promise<{ result: DiffResult; entries: DiffEntry[] }> {
  const [before, after] = [await entriesOf(sides.before, pattern), await entriesOf(sides.after, pattern)]
  const comparison = new Comparison(sides, before, after)
  comparison.run()
  if (pattern !== undefined && comparison.isEmpty) throw nothingMatches(sides, pattern)
  return { result: comparison.result(), entries: comparison.entries }
}

interface Compared {
  tree: LoadedTree
  digested: Digested | null
  wants(entry: TreeEntry): boolean
}

async function entriesOf({ room, opened, table }: Side, pattern: string | undefined): Promise<Compared> {
  const tree = await treeOf(room, opened)
  const digested = table === null ? null : { layout: tree.layout, table }
  if (pattern === undefined) return { tree, digested, wants: () => true }
  const chooser = new Chooser({ include: [pattern], exclude: [] }, patternRoots(opened.manifest))
  return { tree, digested, wants: entry => chooser.wants(entry) }
}

/** What the other side has of the same path: looked up, for as objects all entries of one would take half a gigabyte. */
function counterpart({ tree, wants }: Compared, { path }: TreeEntry): TreeEntry | undefined {
  const found = tree.find(path)
  return found !== undefined && wants(found) ? found : undefined
}

class Comparison {
  readonly entries: DiffEntry[] = []
  readonly #sides: Sides
  readonly #before: Compared
  readonly #after: Compared
  readonly #counts = { added: 0, removed: 0, changed: 0, unchanged: 0 }
  readonly #changed = { blocks: 0, bytes: 0 }
  #added = 0
  #removed = 0

  constructor(sides: Sides, before: Compared, after: Compared) {
    this.#sides = sides
    this.#before = before
    this.#after = after
  }

  run(): void {
    for (const entry of this.#after.tree.entries()) {
      if (!this.#after.wants(entry)) continue
      const old = counterpart(this.#before, entry)
      if (old === undefined) this.#isNew(entry)
      else this.#isThere(old, entry)
    }
    for (const entry of this.#before.tree.entries()) {
      if (this.#before.wants(entry) && counterpart(this.#after, entry) === undefined) this.#isGone(entry)
    }
  }

  /** Whether neither side has anything to compare. */
  get isEmpty(): boolean {
    return Object.values(this.#counts).every(count => count === 0)
  }

  result(): DiffResult {
    const { added, removed, changed } = this.#counts
    const isCompared = this.#before.digested !== null || isSameBackup(this.#sides)
    return {
      ...headOf(this.#sides),
      identical: added + removed + changed === 0,
      compared: isCompared ? 'digests' : 'times',
      counts: this.#counts,
      bytes_added: this.#added,
      bytes_removed: this.#removed,
      blocks_changed: isCompared ? this.#changed.blocks : null,
      bytes_changed: isCompared ? this.#changed.bytes : null,
    }
  }

  #isNew(entry: TreeEntry): void {
    this.#counts.added += 1
    this.#added += entry.size
    this.#tell(entry, { change: 'added', size_before: null, size_after: entry.size, facts: [] })
  }

  #isGone(entry: TreeEntry): void {
    this.#counts.removed += 1
    this.#removed += entry.size
    this.#tell(entry, { change: 'removed', size_before: entry.size, size_after: null, facts: [] })
  }

  #isThere(old: TreeEntry, entry: TreeEntry): void {
    const facts = factsChanged(old, entry)
    const content = old.type === 'file' && entry.type === 'file' ? this.#content(old, entry) : null
    if (content?.isChanged === true) facts.push('content')
    if (facts.length === 0) {
      this.#counts.unchanged += 1
      return
    }
    this.#counts.changed += 1
    const bytes = content?.bytes === undefined ? {} : { bytes_changed: content.bytes }
    this.#tell(entry, { change: 'changed', size_before: old.size, size_after: entry.size, facts, ...bytes })
  }

  /** By digests where there are such; else a file of another size or time counts as changed. */
  #content(old: TreeEntry, entry: TreeEntry): { isChanged: boolean; bytes?: number } {
    if (isSameBackup(this.#sides)) return { isChanged: false }
    const [then, now] = [this.#before.digested, this.#after.digested]
    const [first, second] = [this.#before.tree.fileNumber(old.path), this.#after.tree.fileNumber(entry.path)]
    if (then === null || now === null || first === undefined || second === undefined) {
      return { isChanged: old.size !== entry.size || !isSameTime(old, entry) }
    }
    const { blocks, bytes } = changedBlocks(then, first, now, second)
    this.#changed.blocks += blocks
    this.#changed.bytes += bytes
    return { isChanged: blocks > 0 || old.size !== entry.size, bytes }
  }

  #tell({ path, type }: TreeEntry, rest: Omit<DiffEntry, 'path' | 'type'>): void {
    this.entries.push({ path: pathOf(this.#sides.after.opened.manifest, path), type, ...rest })
  }
}

function factsChanged(old: TreeEntry, entry: TreeEntry): ChangedFact[] {
  const isSameDevice = old.device?.major === entry.device?.major && old.device?.minor === entry.device?.minor
  const facts: [ChangedFact, boolean][] = [
    ['type', old.type !== entry.type || !isSameDevice],
    ['mode', old.mode !== entry.mode],
    ['owner', old.uid !== entry.uid || old.gid !== entry.gid],
    ['time', !isSameTime(old, entry)],
    ['link', old.link !== entry.link],
    ['attributes', attributesOf(old) !== attributesOf(entry)],
  ]
  return facts.flatMap(([fact, isChanged]) => (isChanged ? [fact] : []))
}

function isSameTime(a: TreeEntry, b: TreeEntry): boolean {
  return Math.abs(a.mtime - b.mtime) <= TIME_ERROR_SECONDS
}

/** In one order, whatever the order of the file system was. */
function attributesOf({ attributes = {} }: TreeEntry): string {
  return JSON.stringify(Object.entries(attributes).sort(([a], [b]) => (a < b ? -1 : 1)))
}

function nothingMatches({ before, after }: Sides, pattern: string): NexusError {
  const [first, second] = [before.opened.manifest.id, after.opened.manifest.id]
  const message = `neither ${first} nor ${second} holds anything that matches ${shellQuoted(pattern)}`
  return new NexusError('not-found', 'nothing_included', message, {
    hint: `see what they hold: nexus-backup list ${second} --files`,
  })
}
