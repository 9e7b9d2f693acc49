import type { RestorePlan } from '../../operations/requests.js'
import type { MergeCounts, PartCounts, RestoreResult } from '../../operations/results.js'
import { shown } from '../../system/file-names.js'
import type { Paint } from './colour.js'
import { counted, humanBytes, humanDuration, humanTime, printable } from './format.js'

/** What a restore is going to do. */
export function renderPlan(plan: RestorePlan, zone: string): string {
  const lines = [
    `${plan.source}: restore ${plan.id}, captured at ${humanTime(plan.captured_at, zone)}, ${humanBytes(plan.bytes)}`,
    // A rollback brings back a file, not a backup.
    ...(plan.chain.length === 0 ? [] : [`  from ${counted(plan.chain.length, 'backup')}: ${plan.chain.join(', ')}`]),
    `  to ${printable(plan.target)}${plan.in_place ? ' (the live data)' : ''}`,
  ]
  if (plan.part !== undefined) lines.push(`  a part of it: ${countsOf(plan.part)}`)
  if (plan.undoes !== undefined) {
    lines.push(`  undoes the merge that keeps what it replaced in ${printable(plan.undoes)}`)
    lines.push(`  what makes way is kept in ${printable(plan.previous ?? '')}`)
  } else if (plan.merge !== undefined) {
    const kept = plan.previous === null ? '' : `; what it replaces is kept in ${printable(plan.previous)}`
    lines.push(`  merges into what is there (overwrite ${plan.merge})${kept}`)
    if (plan.merging !== undefined) lines.push(`  ${mergingIn(plan.merging)}`)
  } else if (plan.replaces) {
    const kept = plan.previous === null ? '' : `, kept as ${printable(plan.previous)}`
    lines.push(`  replaces what is there${kept}`)
  }
  if (plan.service !== null) lines.push(`  stops and starts ${printable(plan.service)}`)
  return lines.map(line => `${line}\n`).join('')
}

function mergingIn({ created, replaced, left, bytes_kept: bytes }: NonNullable<RestorePlan['merging']>): string {
  const kept = replaced === 0 ? '' : `, of which ${humanBytes(bytes)} are kept`
  return `${created} new, ${replaced} replaced${kept}, ${left} left as they are there`
}

/** So many replaced files are named; all of them lie where they are kept. */
const NAMED = 20

function mergedLines(merged: MergeCounts | undefined): string[] {
  if (merged === undefined) return []
  const { created, replaced, left, removed } = merged
  const more = replaced.length > NAMED ? [`  and ${replaced.length - NAMED} more`] : []
  const counts =
    removed === undefined
      ? `merged: ${created} new, ${replaced.length} replaced, ${left} left as they were there`
      : `undone: ${created + replaced.length} brought back, ${removed} removed that were added`
  return [`  ${counts}`, ...replaced.slice(0, NAMED).map(path => `  replaced: ${shown(path)}`), ...more]
}

function countsOf({ entries, files, bytes }: PartCounts): string {
  return `${entries} ${entries === 1 ? 'entry' : 'entries'}, of them ${counted(files, 'file')} with ${humanBytes(bytes)}`
}

/** What was restored, where the data it replaced lies, and how to undo it. */
export function renderRestore(result: RestoreResult, { zone, paint }: { zone: string; paint: Paint }): string {
  const what = result.id ?? 'the previous data'
  const captured = result.captured_at === null ? '' : `, captured at ${humanTime(result.captured_at, zone)}`
  const lines = [
    `restored ${paint.good(what)} to ${printable(result.target)}${captured}, in ${humanDuration(result.duration_ms)}`,
  ]
  if (result.part !== undefined) lines.push(`  a part of it: ${countsOf(result.part)}`)
  lines.push(...mergedLines(result.merged))
  for (const { name, status, detail } of result.checks) {
    const shown = status === 'failed' ? paint.bad(status) : status
    lines.push(
      `  check ${printable(name)}: ${shown}${status === 'ok' || detail === '' ? '' : ` (${printable(detail)})`}`,
    )
  }
  for (const problem of result.problems ?? []) lines.push(`  ${paint.bad('not as it was')}: ${printable(problem)}`)
  if (result.previous !== null) lines.push(`  what was there before: ${printable(result.previous)}`)
  if (result.undo !== null) lines.push(`  to undo this: ${printable(result.undo)}`)
  return lines.map(line => `${line}\n`).join('')
}
