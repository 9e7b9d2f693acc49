import { mkdirSync } from 'node:fs'
import { noSecrets } from '../../secret-variables.js'
import { byShortPath } from '../../system/long-paths.js'
import type { ChainMember } from '../chain.js'
import type { DigestTable } from '../digest-table.js'
import { inBatches, inOrder } from '../ordered.js'
import { restoreBlocks } from '../restore-file.js'
import type { Work } from '../types.js'
import type { WorkerPool } from '../workers/pool.js'
import type { Attributes, SettleTask } from '../workers/tasks.js'
import { isTreePart } from './part-of-tree.js'
import { makeOthers, trying, writeFailed } from './restore-others.js'
import { depthOf, directoriesOf, Places } from './restore-plan.js'
import { RestoreProblems } from './restore-problems.js'
import type { Tree } from './tree.js'
import type { TreeEntry } from './types.js'

/** Files and directories for one message to a thread. */
const BATCH_ITEMS = 128

/** From so many files on, flushing the whole file system first is faster than one file after another. */
const MANY_FILES = 1000

/** Where a tree is put. */
export interface RestoreTreeTarget {
  /** Absolute path of a new, empty directory of the caller's, mode 0700, which nobody else can reach or exchange. Its own mode, owner and time are left alone. */
  directory: string
  /**
   * Entry path of a directory -> absolute path of another new, empty directory of the caller's, into which that
   * directory's content goes (tablespaces: `pg_tblspc/16390`). No link is made in its place.
   */
  elsewhere: ReadonlyMap<string, string>
  /** Numeric owner and group that an entry gets; null leaves those of this process. */
  owner(entry: TreeEntry): { uid: number; gid: number } | null
}

interface RestoreSettings {
  pool: WorkerPool
  work: Work
  /** As `restoreBlocks` wants it. */
  table?: DigestTable
}

/** A restore under way. */
interface Restoring {
  tree: Tree
  places: Places
  target: RestoreTreeTarget
  settings: RestoreSettings
  problems: RestoreProblems
}

/**
 * Puts the newest image of a chain in place: directories, files, every block once, hard links, pipes and devices, symbolic
 * links last, then owners, attributes, modes and times. Nothing that exists is written to, no link is followed, and all of
 * it is durable when this returns. What the file system or this user cannot make or set is a problem of that entry.
 *
 * @param tree the newest member's, as `loadTree` checked it, or a part of it: then no block of other files is read
 * @throws DamagedChain when anything stored is damaged; what was written is then incomplete
 * @throws NexusError `failed` when the target cannot be written, `interrupted` after a signal
 */
export async function restoreTree(
  chain: readonly ChainMember[],
  tree: Tree,
  target: RestoreTreeTarget,
  settings: RestoreSettings,
): Promise<RestoreProblems> {
  const places = new Places(target.directory, target.elsewhere)
  const problems = new RestoreProblems()
  const restoring = { tree, places, target, settings, problems }
  const directories = directoriesOf(tree)
  attempt(() => {
    for (const [path] of directories) if (!places.isGiven(path)) makeDirectory(path, restoring)
  })
  await createFiles(restoring)
  const destination = (file: number) => {
    if (isTreePart(tree) && !tree.holds(file)) return null
    const { path, sparse, size } = tree.fileEntry(file)
    return { to: problems.missing.has(path) ? null : { path: places.of(path), sparse }, size }
  }
  await restoreBlocks(chain, destination, settings, isTreePart(tree) ? tree.blocks : undefined)
  settings.work.signal.throwIfAborted()
  const copies = await makeOthers(restoring)
  await settleFiles(restoring, copies)
  await settleDirectories(directories, restoring)
  return problems
}

function makeDirectory(path: string, { places, problems }: Restoring): void {
  if (problems.hasNoPlace(path)) problems.leftOut(path, NO_PLACE)
  else trying(problems, path, () => byShortPath(places.of(path), at => mkdirSync(at, { mode: 0o700 })))
}

const NO_PLACE = 'its directory is missing'

async function createFiles({ tree, places, settings, problems }: Restoring): Promise<void> {
  const wanted = function* (): Generator<TreeEntry, void, void> {
    for (const entry of entriesOf(tree, 'file')) {
      if (problems.hasNoPlace(entry.path)) problems.leftOut(entry.path, NO_PLACE)
      else yield entry
    }
  }
  await inFlight(inBatches(wanted(), BATCH_ITEMS), settings, async batch => {
    const files = batch.map(({ path, size }) => ({ path: places.of(path), size }))
    const done = await settings.pool.run({ kind: 'create', files })
    for (const { at, message } of done.problems) problems.leftOut(batch[at]?.path ?? '', message)
  })
}

/**
 * Attributes and fsync. 20,000 files of 4 KiB took 4.2 s with an fsync for each, and 1.6 s when the file system was
 * flushed as a whole before: each fsync then finds nothing to do. It is done all the same, for it alone tells that a
 * file could not be written.
 */
async function settleFiles(
  { tree, places, target, settings, problems }: Restoring,
  copies: TreeEntry[],
): Promise<void> {
  const many = tree.count >= MANY_FILES
  const there = function* (): Generator<TreeEntry, void, void> {
    for (const entry of entriesOf(tree, 'file')) if (!problems.missing.has(entry.path)) yield entry
    yield* copies
  }
  // What cannot be opened again by its owner is synced while it is open.
  const later = ({ mode }: TreeEntry) => many && (mode & 0o400) !== 0
  const items = function* (): Generator<Item> {
    for (const entry of there()) {
      const attributes = attributesOf(entry, target)
      yield { entry: entry.path, path: places.of(entry.path), directory: false, attributes, sync: !later(entry) }
    }
  }
  await settle(items(), settings, problems)
  if (!many) return
  for (const directory of [target.directory, ...target.elsewhere.values()]) {
    // Only to be faster: where it fails, every fsync below does its own work.
    const { execa } = await import('execa')
    await execa('sync', ['-f', directory], { env: noSecrets, reject: false, cancelSignal: settings.work.signal })
  }
  const again = function* (): Generator<Item> {
    for (const entry of there()) {
      if (!later(entry)) continue
      yield { entry: entry.path, path: places.of(entry.path), directory: false, attributes: null, sync: true }
    }
  }
  await settle(again(), settings, problems)
}

/** Inner ones first: an outer one may close itself to us, and its time changes with what is made in it. */
async function settleDirectories(
  directories: [string, TreeEntry | null][],
  { places, target, settings, problems }: Restoring,
): Promise<void> {
  const inner = directories.filter(([path]) => !problems.missing.has(path)).reverse()
  for (let at = 0; at < inner.length; ) {
    const depth = depthOf(inner[at]?.[0] ?? '')
    const from = at
    while (at < inner.length && depthOf(inner[at]?.[0] ?? '') === depth) at += 1
    const items = inner.slice(from, at).map(([path, entry]) => {
      const attributes = entry === null ? null : attributesOf(entry, target)
      return { entry: path, path: places.of(path), directory: true, attributes, sync: true }
    })
    await settle(items, settings, problems)
  }
}

/** With the path of its entry, for what there is to say of it. */
type Item = SettleTask['items'][number] & { entry: string }

async function settle(items: Iterable<Item>, settings: RestoreSettings, problems: RestoreProblems): Promise<void> {
  await inFlight(inBatches(items, BATCH_ITEMS), settings, async batch => {
    const wanted = batch.map(({ path, directory, attributes, sync }) => ({ path, directory, attributes, sync }))
    const done = await settings.pool.run({ kind: 'settle', items: wanted })
    for (const { at, message } of done.problems) problems.altered(batch[at]?.entry ?? '', message)
  })
}

async function inFlight<T>(
  batches: AsyncIterable<T>,
  { pool, work }: RestoreSettings,
  run: (batch: T) => Promise<void>,
): Promise<void> {
  for await (const _ of inOrder(batches, pool.width, run)) work.signal.throwIfAborted()
}

function* entriesOf(tree: Tree, type: TreeEntry['type']): Generator<TreeEntry, void, void> {
  for (const entry of tree.entries()) if (entry.type === type) yield entry
}

function attributesOf(entry: TreeEntry, target: RestoreTreeTarget): Attributes {
  const { mode, mtime, attributes } = entry
  const extended = attributes === undefined ? {} : { extended: attributes }
  return { mode, owner: target.owner(entry), mtime, ...extended }
}

function attempt(work: () => void): void {
  try {
    work()
  } catch (cause) {
    throw writeFailed(cause)
  }
}
