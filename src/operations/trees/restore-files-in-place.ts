import { copyFileSync, lchownSync, lstatSync, renameSync, utimesSync } from 'node:fs'
import { mkdir, open } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { FilesSourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { errnoOf, NexusError } from '../../errors.js'
import { realTarget } from '../../sources/sqlite/restore-record.js'
import { chainOf } from '../chain-members.js'
import type { RestorePlan } from '../requests.js'
import type { RestoreResult } from '../results.js'
import { openBackup } from '../sealing/open-backup.js'
import type { Selected } from '../select.js'
import { namesLike, previousNames } from '../set-aside.js'
import { finishInterruptedTrees } from './interrupted-trees.js'
import { KeptEntries } from './kept-entries.js'
import { writeTree } from './restore-tree.js'
import { putTreesInPlace } from './tree-in-place.js'
import { treeOf } from './tree-part.js'
import { exists, type TreeMove } from './tree-swap.js'
import { assertReplaceable } from './tree-targets.js'

/** A restore of directories and files to where the configuration has them. */
export interface FilesInPlace {
  source: FilesSourceSettings
  selected: Selected
  /** Name of what is replaced, from the plan that the operator saw. */
  previous?: string | null | undefined
}

/** A configured root that the backup holds. */
interface StagedRoot extends TreeMove {
  /** As configured. */
  path: string
  kind: 'file' | 'directory'
}

/**
 * What it would do.
 *
 * @throws NexusError for everything that can be refused before a byte is written: as `assertReplaceable`, and
 *   `not-found` (`roots_not_in_backup`)
 */
export async function planFilesInPlace(context: Context, request: FilesInPlace): Promise<RestorePlan> {
  const { source, selected } = request
  const { manifest, survey } = selected
  const roots = await rootsOf(context, request)
  assertReplaceable(source.name, roots, source.service)
  new KeptEntries(context, source, manifest)
  const replaced = roots.filter(({ target }) => exists(target))
  return {
    id: manifest.id,
    source: manifest.source,
    captured_at: manifest.captured_at,
    chain: chainOf(manifest, new Map(survey.manifests.map(member => [member.id, member]))).map(({ id }) => id),
    target: roots.map(({ target }) => target).join(', '),
    in_place: true,
    replaces: replaced.length > 0,
    previous: replaced.length === 0 ? null : replaced.map(({ previous }) => previous).join(', '),
    service: source.service,
    bytes: manifest.bytes_source,
  }
}

/**
 * Stages every root beside its place, proves it, and swaps all of them or none. A root of the configuration that the
 * backup does not hold stays as it is. The caller holds the lock.
 */
export async function restoreFilesInPlace(context: Context, request: FilesInPlace): Promise<RestoreResult> {
  const { source, selected } = request
  const { manifest } = selected
  const began = context.now()
  await finishInterruptedTrees(context, source)
  const roots = await rootsOf(context, request)
  const keeping = new KeptEntries(context, source, manifest)
  const home = roots[0]?.target ?? ''
  const scratch = `${scratchName(home, manifest.id)}.rest`
  const placement = {
    source: source.name,
    moves: roots.map(({ staged, target, previous }) => ({ staged, target, previous })),
    disposable: true,
    // The second is made by writeTree, and left by it when it is killed.
    scratch: [scratch, `${scratch}.digests`],
    service: source.service,
    kept: () => roots.flatMap(root => (isDirectory(root.target) && root.kind === 'directory' ? keeping.in(root) : [])),
  }
  let entries = 0
  const placed = await putTreesInPlace(context, placement, async () => {
    const directories = roots.filter(({ kind }) => kind === 'directory')
    for (const name of [scratch, ...directories.map(({ staged }) => staged)]) await mkdir(name, { mode: 0o700 })
    const elsewhere = new Map(directories.map(({ path, staged }) => [path.slice(1), staged]))
    entries = (await writeTree(context, selected, { directory: scratch, elsewhere })).size
    for (const { path, kind, staged } of roots) if (kind === 'file') await moveFile(join(scratch, path), staged)
  })
  const previous = placed.flatMap(tree => tree.previous ?? [])
  return {
    command: 'restore',
    id: manifest.id,
    target: placed.map(({ target }) => target).join(', '),
    captured_at: manifest.captured_at,
    previous: previous.length === 0 ? null : previous.join(', '),
    undo: previous.length === 0 ? null : `nexus-backup restore ${source.name} --rollback --confirm ${source.name}`,
    checks: [{ name: 'restored', status: 'ok', detail: `${entries} entries, every block as it was captured` }],
    duration_ms: Math.max(0, context.now().getTime() - began.getTime()),
  }
}

async function rootsOf(context: Context, { source, selected, previous }: FilesInPlace): Promise<StagedRoot[]> {
  const { manifest, room } = selected
  const wanted = new Set(source.paths.map(path => path.slice(1)))
  const kinds = new Map<string, StagedRoot['kind']>()
  for (const { path, type } of (await treeOf(room, await openBackup(context, room.repository, manifest))).entries()) {
    if (wanted.has(path)) kinds.set(path, type === 'directory' ? 'directory' : 'file')
  }
  const found = source.paths.filter(path => kinds.has(path.slice(1)))
  const missing = source.paths.filter(path => !kinds.has(path.slice(1)))
  if (found.length === 0) throw notThere(source.name, manifest.id)
  if (missing.length > 0) {
    context.warn(`${source.name}: ${manifest.id} does not hold ${missing.join(', ')}, which stays as it is`)
  }
  const targets = found.map(path => realTarget(path))
  const shown = typeof previous === 'string' ? namesLike(targets, previous) : undefined
  const names = shown ?? previousNames(targets, context.now())
  return found.map((path, at) => {
    const target = targets[at] ?? path
    const staged = scratchName(target, manifest.id)
    return { path, kind: kinds.get(path.slice(1)) ?? 'file', target, staged, previous: names[at] ?? '' }
  })
}

function isDirectory(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}

function scratchName(target: string, id: string): string {
  return join(dirname(target), `.${basename(target)}.nexus-restore-${id.slice(-4)}-${process.pid}`)
}

/** Another root may lie on another file system. */
async function moveFile(from: string, to: string): Promise<void> {
  try {
    renameSync(from, to)
  } catch (error) {
    if (errnoOf(error) !== 'EXDEV') throw error
    await copyFile(from, to)
  }
}

async function copyFile(from: string, to: string): Promise<void> {
  copyFileSync(from, to)
  const { uid, gid, mode, atime, mtime } = lstatSync(from)
  lchownSync(to, uid, gid)
  const file = await open(to, 'r+')
  try {
    // After the owner, for giving a file away takes its set-user-id bit.
    await file.chmod(mode & 0o7777)
    utimesSync(to, atime, mtime)
    await file.sync()
  } finally {
    await file.close()
  }
}

function notThere(source: string, id: string): NexusError {
  return new NexusError('not-found', 'roots_not_in_backup', `${id} holds none of the configured paths of ${source}`, {
    hint: `see what it holds by restoring it beside: nexus-backup restore ${id} --to PATH`,
  })
}
