import type { PruneResult } from '../../operations/results.js'
import type { Paint } from './colour.js'
import { counted, humanBytes, printable } from './format.js'

/** What is kept and what goes, each with its reasons. */
export function renderPrune(result: PruneResult, paint: Paint): string {
  const line = (mark: string) => (entry: PruneResult['keep'][number]) =>
    `${mark}  ${printable(entry.source)}/${printable(entry.id)}: ${entry.reasons.map(reason => printable(reason)).join(', ')}\n`
  const gone = counted(result.delete.length, 'backup')
  const sum = result.dry_run
    ? `would remove ${gone} (${humanBytes(result.bytes_freed)})`
    : `removed ${gone}, ${humanBytes(result.bytes_freed)} freed`
  return [
    ...result.keep.map(line(paint.good('keep'))),
    ...result.delete.map(line(paint.warning(result.dry_run ? 'would delete' : 'deleted'))),
    `${sum}, kept ${result.keep.length}\n`,
  ].join('')
}
