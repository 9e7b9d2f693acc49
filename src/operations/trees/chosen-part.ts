import { NexusError } from '../../errors.js'
import { partOfTree, type TreePart } from '../../image/tree/part-of-tree.js'
import type { Tree } from '../../image/tree/tree.js'
import type { Manifest } from '../../repository/manifest.js'
import { Chooser, NearNames } from '../../sources/files/choose.js'
import { shown } from '../../system/file-names.js'
import { patternRoots } from '../list/listed-file.js'
import type { PartRules } from '../requests.js'
import type { PartCounts } from '../results.js'
import { openBackup } from '../sealing/open-backup.js'
import type { Selected } from '../select.js'
import { shellQuoted } from '../shell.js'
import { treeOf } from './tree-part.js'

/**
 * The part of a backup's tree that an operator asks for.
 *
 * @throws NexusError `not-found` (`nothing_included`) when a pattern of `include` matches nothing, naming what is like it,
 *   or when nothing is left
 */
export function chosenPart(tree: Tree, manifest: Manifest, rules: PartRules): TreePart {
  const { id } = manifest
  const chooser = new Chooser(rules, patternRoots(manifest))
  const part = partOfTree(tree, entry => chooser.wants(entry))
  const [unmatched] = chooser.unmatched()
  if (unmatched !== undefined) throw nothingLike(id, unmatched, tree)
  if (part.size > 0) return part
  throw new NexusError('not-found', 'nothing_included', `nothing of ${id} is left by --exclude`, {
    hint: `see what it holds: nexus-backup list ${id} --files`,
  })
}

/** A chosen part before it is restored: its list of entries is all that is read. */
export async function previewPart(context: PreviewContext, selected: Selected, rules: PartRules): Promise<PartPreview> {
  const { room, manifest } = selected
  const opened = await openBackup(context, room.repository, manifest)
  const part = chosenPart(await treeOf(room, opened), opened.manifest, rules)
  return { ...countsOf(part), named: firstNamed(part) }
}

type PreviewContext = Parameters<typeof openBackup>[0]

export interface PartPreview extends PartCounts {
  /** The first entries that are no directories, two at most. */
  named: { path: string; type: string }[]
}

/** What is in a part. */
export function countsOf(part: TreePart): PartCounts {
  return { entries: part.size, files: part.count, bytes: part.bytes }
}

function firstNamed(part: TreePart): PartPreview['named'] {
  const named: PartPreview['named'] = []
  for (const { path, type } of part.entries()) {
    if (type === 'directory') continue
    named.push({ path: `/${path}`, type })
    if (named.length === 2) break
  }
  return named
}

function nothingLike(id: string, pattern: string, tree: Tree): NexusError {
  const names = new NearNames(pattern)
  for (const { path } of tree.entries()) names.look(path)
  const near = names.paths().map(path => shown(`/${path}`))
  const meant = near.length === 0 ? '' : `it holds ${near.join(', ')}; `
  return new NexusError('not-found', 'nothing_included', `${id} holds nothing that matches ${shellQuoted(pattern)}`, {
    hint: `${meant}see what it holds: nexus-backup list ${id} --files`,
  })
}
