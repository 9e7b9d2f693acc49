import type { DiffEntry, DiffResult } from '../../operations/diff/results.js'
import { shown } from '../../system/file-names.js'
import { counted, humanBytes } from './format.js'

const MARKS: Readonly<Record<DiffEntry['change'], string>> = { added: '+', removed: '-', changed: 'M' }

/** `M  /srv/a  content, time; 128.0 KiB of 3.0 MiB changed` */
export function diffLine(entry: DiffEntry): string {
  const { change, path, facts, bytes_changed: bytes } = entry
  const size = entry.size_after ?? entry.size_before ?? 0
  const isContent = facts.includes('content') && bytes !== undefined
  const amount = isContent ? `${humanBytes(bytes)} of ${humanBytes(size)} changed` : ''
  const told =
    change === 'changed' ? [facts.join(', '), amount].filter(text => text !== '').join('; ') : humanBytes(size)
  return `${MARKS[change]}  ${shown(path)}  ${told}\n`
}

/** What was counted. */
export function renderDiff(result: DiffResult): string {
  const { counts, before, after, blocks_changed: blocks, bytes_changed: bytes } = result
  const { added, removed, changed, unchanged } = counts
  const content =
    blocks === null || bytes === null
      ? 'content was compared by size and time: the chains differ'
      : `${counted(blocks, 'block')} with ${humanBytes(bytes)} changed in what both hold`
  const amounts = `${added} added (${humanBytes(result.bytes_added)}), ${removed} removed (${humanBytes(result.bytes_removed)})`
  return `${before.id} -> ${after.id}: ${amounts}, ${changed} changed, ${unchanged} the same; ${content}\n`
}
