import { NexusError } from '../../errors.js'
import { listedFiles } from '../../image/file-layout.js'
import { changedBlocks } from './content.js'
import type { DiffEntry, DiffResult } from './results.js'
import { headOf, isSameBackup, type Side, type Sides } from './side.js'

/**
 * Pages of a database that differ. Between chains their digests cannot be compared, for each has a seed of its own.
 * @throws NexusError `failed` (`not_comparable`)
 */
export function diffDatabases(sides: Sides): { result: DiffResult; entries: DiffEntry[] } {
  const { before, after } = sides
  const [then, now] = [sizeOf(before), sizeOf(after)]
  const changed = isSameBackup(sides) ? { blocks: 0, bytes: 0 } : changedPages(before, after)
  const isIdentical = changed.blocks === 0 && then === now
  const path = after.opened.manifest.files[0]?.path ?? after.opened.manifest.source
  const entry: DiffEntry = {
    change: 'changed',
    path,
    type: 'file',
    size_before: then,
    size_after: now,
    facts: ['content'],
    bytes_changed: changed.bytes,
  }
  return {
    result: {
      ...headOf(sides),
      identical: isIdentical,
      compared: 'digests',
      counts: { added: 0, removed: 0, changed: isIdentical ? 0 : 1, unchanged: isIdentical ? 1 : 0 },
      bytes_added: 0,
      bytes_removed: 0,
      blocks_changed: changed.blocks,
      bytes_changed: changed.bytes,
    },
    entries: isIdentical ? [] : [entry],
  }
}

function changedPages(before: Side, after: Side): { blocks: number; bytes: number } {
  const [first, second] = [before.opened.manifest, after.opened.manifest]
  if (before.table === null || after.table === null) {
    const message = `${first.id} and ${second.id} are of different chains, whose pages cannot be compared`
    throw new NexusError('failed', 'not_comparable', message, {
      hint: `restore both and compare them: nexus-backup restore ${first.id} --to PATH`,
    })
  }
  const old = { layout: listedFiles(first.files), table: before.table }
  return changedBlocks(old, 0, { layout: listedFiles(second.files), table: after.table }, 0)
}

function sizeOf({ opened: { manifest } }: Side): number {
  return manifest.files[0]?.size ?? 0
}
