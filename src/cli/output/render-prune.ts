import type { PruneDecision, PrunedWal, PruneResult } from '../../operations/results.js'
import type { Paint } from './colour.js'
import { counted, humanBytes, printable } from './format.js'

/** What is kept and what goes, each with its reasons. */
export function renderPrune(result: PruneResult, paint: Paint): string {
  const repositories = new Set([...result.keep, ...result.delete].map(({ repository }) => repository))
  const where = ({ repository }: PruneDecision) => (repositories.size > 1 ? ` in ${printable(repository)}` : '')
  const line = (mark: string) => (entry: PruneDecision) =>
    `${mark}  ${printable(entry.source)}/${printable(entry.id)}${where(entry)}: ${entry.reasons.map(reason => printable(reason)).join(', ')}\n`
  const segments = result.wal.reduce((sum, wal) => sum + wal.delete.segments, 0)
  const log = segments === 0 ? '' : ` and ${counted(segments, 'segment')} of the log`
  const gone = `${counted(result.delete.length, 'backup')}${log}`
  const freed = humanBytes(result.bytes_to_free ?? result.bytes_freed)
  const sum = result.dry_run ? `would remove ${gone} (${freed})` : `removed ${gone}, ${freed} freed`
  return [
    ...result.wal.flatMap(wal => renderWal(wal, { dryRun: result.dry_run, paint })),
    ...result.keep.map(line(paint.good('keep'))),
    ...result.delete.map(line(paint.warning(result.dry_run ? 'would delete' : 'deleted'))),
    ...result.untrusted.map(line(paint.bad('untrusted'))),
    `${sum}, kept ${result.keep.length}\n`,
  ].join('')
}

/** The log of one system: what is kept and why, and what goes. */
function renderWal(wal: PrunedWal, { dryRun, paint }: { dryRun: boolean; paint: Paint }): string[] {
  const whose = `${printable(wal.source)}/wal/${printable(wal.system_identifier)}`
  const { segments, bytes, from, to } = wal.delete
  const begin = wal.keep_from === null ? '' : ` from ${printable(wal.keep_from)}`
  const kept = `${paint.good('keep')}  ${whose}${begin}: ${wal.reasons.map(reason => printable(reason)).join(', ')}\n`
  if (segments === 0) return [kept]
  const mark = paint.warning(dryRun ? 'would delete' : 'deleted')
  const range = from === null || to === null ? '' : `, ${printable(from)} to ${printable(to)}`
  return [kept, `${mark}  ${whose}: ${counted(segments, 'segment')} (${humanBytes(bytes)})${range}\n`]
}
