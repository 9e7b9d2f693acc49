import { renameSync, statSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { FilesSourceSettings } from '../../config/settings.js'
import type { Context } from '../../context.js'
import { errnoOf, NexusError } from '../../errors.js'
import { copyName, nameExists as exists, isDirectory } from '../../system/names.js'
import { type Staging, type StagingPlace, stagingPlace, whileStaging } from '../../system/staging.js'
import { trustedPath } from '../../system/trusted-path.js'
import { plannedBackup } from '../planned-backup.js'
import type { RestorePlan } from '../requests.js'
import { assertSpace } from '../restore-space.js'
import type { RestoreResult } from '../results.js'
import { openBackup } from '../sealing/open-backup.js'
import type { Selected } from '../select.js'
import { namesLike, previousNames } from '../set-aside.js'
import { finishInterruptedTrees } from './interrupted-trees.js'
import { isPartial, KeptEntries } from './kept-entries.js'
import { noOwner, outcomeOf, type WrittenTree, writeTree } from './restore-tree.js'
import { putTreesInPlace } from './tree-in-place.js'
import { treeOf } from './tree-part.js'
import type { TreeMove } from './tree-swap.js'
import { assertReplaceable } from './tree-targets.js'

/** A restore of directories and files to where the configuration has them. */
export interface FilesInPlace {
  source: FilesSourceSettings
  selected: Selected
  /** Name of what is replaced, from the plan that the operator saw. */
  previous?: string | null | undefined
  /** As in a restore's request. */
  noOwner?: boolean
}

/** A configured root that the backup holds. */
interface StagedRoot extends TreeMove {
  /** As configured. */
  path: string
  place: StagingPlace
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
  const { manifest } = selected
  const { roots } = await rootsOf(context, request)
  assertReplaceable(source.name, roots, source.service)
  new KeptEntries(context, source, manifest)
  const replaced = roots.filter(({ target }) => exists(target))
  return {
    ...plannedBackup(selected),
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
  const { roots, partial } = await rootsOf(context, request)
  const keeping = new KeptEntries(context, source, manifest, partial)
  // What belongs to none of the roots; it is taken away again.
  const scratch = `${roots[0]?.staged ?? ''}.rest`
  const placement = {
    source: source.name,
    moves: roots.map(({ staged, target, previous }) => ({ staged, target, previous })),
    disposable: true,
    // The second is made by writeTree, and left by it when it is killed.
    scratch: [scratch, `${scratch}.digests`],
    service: source.service,
    kept: () => roots.flatMap(root => (isDirectory(root.target) && root.kind === 'directory' ? keeping.in(root) : [])),
  }
  let written: WrittenTree | undefined
  const placed = await putTreesInPlace(context, placement, async () => {
    written = await whileStagingAll(roots, async staged => {
      const at = (root: StagedRoot) => staged.get(root)?.path ?? root.staged
      const [home] = roots
      const rest = `${home === undefined ? '' : at(home)}.rest`
      const directories = roots.filter(({ kind }) => kind === 'directory')
      for (const name of [rest, ...directories.map(at)]) await mkdir(name, { mode: 0o700 })
      const elsewhere = new Map(directories.map(root => [root.path.slice(1), at(root)]))
      const owner = request.noOwner === true ? { owner: noOwner } : {}
      const tree = await writeTree(context, selected, { directory: rest, elsewhere, ...owner })
      keeping.keepAlso(tree.problems.missing)
      for (const root of roots) {
        const isFile = root.kind === 'file' && !tree.problems.missing.has(root.path.slice(1))
        if (!isFile) continue
        const lost = await moveFile(join(rest, root.path), at(root))
        for (const problem of lost) tree.problems.altered(root.path.slice(1), problem)
      }
      return tree
    })
  })
  const previous = placed.flatMap(tree => tree.previous ?? [])
  return {
    command: 'restore',
    id: manifest.id,
    target: placed.map(({ target }) => target).join(', '),
    captured_at: manifest.captured_at,
    previous: previous.length === 0 ? null : previous.join(', '),
    undo: previous.length === 0 ? null : `nexus-backup restore ${source.name} --rollback --confirm ${source.name}`,
    ...outcomeOf(context, source.name, written),
    duration_ms: Math.max(0, context.now().getTime() - began.getTime()),
  }
}

/** The roots, and the paths of directories whose content the backup left out. */
async function rootsOf(
  context: Context,
  { source, selected, previous }: FilesInPlace,
): Promise<{ roots: StagedRoot[]; partial: ReadonlySet<string> }> {
  const { manifest, room } = selected
  const wanted = new Set(source.paths.map(path => path.slice(1)))
  const kinds = new Map<string, StagedRoot['kind']>()
  const partial = new Set<string>()
  for (const entry of (await treeOf(room, await openBackup(context, room.repository, manifest))).entries()) {
    const { path, type } = entry
    if (wanted.has(path)) kinds.set(path, type === 'directory' ? 'directory' : 'file')
    if (isPartial(entry)) partial.add(path)
  }
  const found = source.paths.filter(path => kinds.has(path.slice(1)))
  const missing = source.paths.filter(path => !kinds.has(path.slice(1)))
  if (found.length === 0) throw notThere(source.name, manifest.id)
  if (missing.length > 0) {
    context.warn(`${source.name}: ${manifest.id} does not hold ${missing.join(', ')}, which stays as it is`)
  }
  const targets = found.map(path => trustedPath(path))
  const shown = typeof previous === 'string' ? namesLike(targets, previous) : undefined
  const names = shown ?? previousNames(targets, context.now())
  const roots = found.map((path, at): StagedRoot => {
    const target = targets[at] ?? path
    const place = stagingPlace(target, `nexus-restore-${manifest.id.slice(-4)}-${process.pid}`)
    const kind = kinds.get(path.slice(1)) ?? 'file'
    return { path, kind, target, staged: place.staged, place, previous: names[at] ?? '' }
  })
  return { roots, partial }
}

/** Makes the places of all roots and runs `work` with them. */
async function whileStagingAll<T>(
  roots: readonly StagedRoot[],
  work: (staged: ReadonlyMap<StagedRoot, Staging>) => Promise<T>,
  made: ReadonlyMap<StagedRoot, Staging> = new Map(),
): Promise<T> {
  const next = roots[made.size]
  if (next === undefined) return work(made)
  return whileStaging(next.place, staging => whileStagingAll(roots, work, new Map([...made, [next, staging]])))
}

/** Another root may lie on another file system. */
async function moveFile(from: string, to: string): Promise<string[]> {
  try {
    renameSync(from, to)
    return []
  } catch (error) {
    if (errnoOf(error) !== 'EXDEV') throw error
    await assertSpace(dirname(to), statSync(from).size)
    return copyName(from, to)
  }
}

function notThere(source: string, id: string): NexusError {
  return new NexusError('not-found', 'roots_not_in_backup', `${id} holds none of the configured paths of ${source}`, {
    hint: `see what it holds by restoring it beside: nexus-backup restore ${id} --to PATH`,
  })
}
