import { linkSync, lutimesSync, mkdirSync, symlinkSync } from 'node:fs'
import { errnoOf, messageOf, NexusError } from '../../errors.js'
import { noSecrets } from '../../secret-variables.js'
import { giveLink } from '../../system/ownership.js'
import type { ChainMember } from '../chain.js'
import { inBatches, inOrder } from '../ordered.js'
import { restoreBlocks } from '../restore-file.js'
import type { Work } from '../types.js'
import type { WorkerPool } from '../workers/pool.js'
import type { Attributes, SettleTask } from '../workers/tasks.js'
import { depthOf, directoriesOf, Places } from './restore-plan.js'
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
}

/**
 * Puts the newest image of a chain in place: directories, files, every block once, hard links, symbolic links last,
 * then owners, modes and times. Nothing that exists is written to, no link is followed, and all of it is durable when
 * this returns.
 *
 * @param tree the newest member's, as `loadTree` checked it
 * @throws DamagedChain when anything stored is damaged; what was written is then incomplete
 * @throws NexusError `failed` when the target cannot be written, `interrupted` after a signal
 */
export async function restoreTree(
  chain: readonly ChainMember[],
  tree: Tree,
  target: RestoreTreeTarget,
  settings: RestoreSettings,
): Promise<void> {
  const places = new Places(target.directory, target.elsewhere)
  const directories = directoriesOf(tree)
  attempt(() => {
    for (const [path] of directories) if (!places.isGiven(path)) mkdirSync(places.of(path), { mode: 0o700 })
  })
  await createFiles(tree, places, settings)
  const destination = (file: number) => {
    const { path, sparse, size } = tree.fileEntry(file)
    return { to: { path: places.of(path), sparse }, size }
  }
  await restoreBlocks(chain, destination, settings)
  settings.work.signal.throwIfAborted()
  attempt(() => makeLinks(tree, places, target))
  await settleFiles(tree, places, target, settings)
  await settleDirectories(directories, places, target, settings)
}

async function createFiles(tree: Tree, places: Places, settings: RestoreSettings): Promise<void> {
  const batches = inBatches(entriesOf(tree, 'file'), BATCH_ITEMS)
  await inFlight(batches, settings, async batch => {
    const files = batch.map(({ path, size }) => ({ path: places.of(path), size }))
    await settings.pool.run({ kind: 'create', files })
  })
}

/** Symbolic links after everything else: until then no path leads through one. */
function makeLinks(tree: Tree, places: Places, target: RestoreTreeTarget): void {
  for (const { link, path } of entriesOf(tree, 'hardlink')) linkSync(places.of(link), places.of(path))
  for (const entry of entriesOf(tree, 'symlink')) {
    const path = places.of(entry.path)
    symlinkSync(entry.link, path)
    const owner = target.owner(entry)
    if (owner !== null) giveLink(path, owner)
    lutimesSync(path, entry.mtime, entry.mtime)
  }
}

/**
 * Attributes and fsync. 20,000 files of 4 KiB took 4.2 s with an fsync for each, and 1.6 s when the file system was
 * flushed as a whole before: each fsync then finds nothing to do. It is done all the same, for it alone tells that a
 * file could not be written.
 */
async function settleFiles(
  tree: Tree,
  places: Places,
  target: RestoreTreeTarget,
  settings: RestoreSettings,
): Promise<void> {
  const many = tree.count >= MANY_FILES
  // What cannot be opened again by its owner is synced while it is open.
  const later = ({ mode }: TreeEntry) => many && (mode & 0o400) !== 0
  const items = function* (): Generator<SettleTask['items'][number]> {
    for (const entry of entriesOf(tree, 'file')) {
      const attributes = attributesOf(entry, target)
      yield { path: places.of(entry.path), directory: false, attributes, sync: !later(entry) }
    }
  }
  await settle(items(), settings)
  if (!many) return
  for (const directory of [target.directory, ...target.elsewhere.values()]) {
    // Only to be faster: where it fails, every fsync below does its own work.
    const { execa } = await import('execa')
    await execa('sync', ['-f', directory], { env: noSecrets, reject: false, cancelSignal: settings.work.signal })
  }
  const again = function* (): Generator<SettleTask['items'][number]> {
    for (const entry of entriesOf(tree, 'file')) {
      if (later(entry)) yield { path: places.of(entry.path), directory: false, attributes: null, sync: true }
    }
  }
  await settle(again(), settings)
}

/** Inner ones first: an outer one may close itself to us, and its time changes with what is made in it. */
async function settleDirectories(
  directories: [string, TreeEntry | null][],
  places: Places,
  target: RestoreTreeTarget,
  settings: RestoreSettings,
): Promise<void> {
  const inner = [...directories].reverse()
  for (let at = 0; at < inner.length; ) {
    const depth = depthOf(inner[at]?.[0] ?? '')
    const from = at
    while (at < inner.length && depthOf(inner[at]?.[0] ?? '') === depth) at += 1
    const items = inner.slice(from, at).map(([path, entry]) => {
      const attributes = entry === null ? null : attributesOf(entry, target)
      return { path: places.of(path), directory: true, attributes, sync: true }
    })
    await settle(items, settings)
  }
}

async function settle(items: Iterable<SettleTask['items'][number]>, settings: RestoreSettings): Promise<void> {
  await inFlight(inBatches(items, BATCH_ITEMS), settings, async batch => {
    await settings.pool.run({ kind: 'settle', items: batch })
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
  return { mode: entry.mode, owner: target.owner(entry), mtime: entry.mtime }
}

function attempt(work: () => void): void {
  try {
    work()
  } catch (cause) {
    const errno = errnoOf(cause)
    if (errno === undefined) throw cause
    const code = errno === 'ENOSPC' || errno === 'EDQUOT' ? 'disk_full' : 'restore_write_failed'
    throw new NexusError('failed', code, messageOf(cause), { cause })
  }
}
